from __future__ import annotations

import math

import pytest
import torch

from distill_lab.data.log_mel import LogMel, with_noise

RATE = 8000
FEATURES = LogMel(RATE, RATE, 40, 96)


def tone(hertz, seconds=1.0, loudness=0.5):
    time = torch.arange(round(RATE * seconds)) / RATE
    return loudness * torch.sin(2 * math.pi * hertz * time)


def test_a_picture_has_bands_and_frames_zero_mean_and_unit_deviation():
    clips = torch.randn(5, RATE, generator=torch.Generator().manual_seed(0))
    pictures = FEATURES.of(clips)
    assert pictures.shape == (5, 1, 40, 96)
    assert torch.allclose(pictures.mean((1, 2, 3)), torch.zeros(5), atol=1e-5)
    assert torch.allclose(pictures.flatten(1).std(1), torch.ones(5), atol=1e-3)


def test_a_tone_is_in_the_band_of_its_pitch():
    # 40 triangles at equal distances on the mel scale, 2595 log10(1 + f / 700), from 20 to 4000 Hz.
    def mel(hertz):
        return 2595 * math.log10(1 + hertz / 700)

    step = (mel(4000) - mel(20)) / 41
    for hertz in (500, 1000, 2000, 3000):
        expected = round((mel(hertz) - mel(20)) / step) - 1
        loudest = FEATURES.of(tone(hertz)[None])[0, 0].mean(1).argmax()
        assert abs(int(loudest) - expected) <= 1


def test_a_tone_in_the_second_half_is_in_the_second_half_of_the_picture():
    clip = torch.cat([torch.zeros(RATE // 2), tone(1000, 0.5)])
    energy = FEATURES.of(clip[None])[0, 0].amax(0)
    assert energy[:45].max() < energy[52:].min()


def test_loudness_changes_nothing_and_silence_is_finite():
    clip = 0.1 * torch.randn(RATE, generator=torch.Generator().manual_seed(0))
    quiet, loud = FEATURES.of(torch.stack([clip, 5 * clip]))
    assert torch.allclose(quiet, loud, atol=1e-2)
    assert FEATURES.of(torch.zeros(1, RATE)).isfinite().all()


def test_a_batch_gives_what_its_clips_give():
    clips = torch.randn(300, 1000, generator=torch.Generator().manual_seed(0))
    features = LogMel(RATE, 1000, 8, 10)
    alone = torch.cat([features.of(clip[None]) for clip in clips[250:260]])
    assert torch.allclose(features.of(clips)[250:260], alone, atol=1e-5)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_as_many_bands_as_there_can_be_all_hear_something(rate):
    with pytest.raises(ValueError, match="num_bands") as refused:
        LogMel(rate, rate, 10_000, 20)
    most = int(str(refused.value).split("<= ")[1].split(",")[0])
    features = LogMel(rate, rate, most, 20)
    assert (features._bands().sum(0) > 0).all()
    with pytest.raises(ValueError, match="num_bands"):
        LogMel(rate, rate, most + 1, 20)


@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 20.0])
def test_noise_has_the_power_that_was_asked_for(snr_db):
    clips = torch.stack([tone(500), tone(900, loudness=0.1)])
    noise = with_noise(clips, snr_db, torch.Generator().manual_seed(0)) - clips
    ratio = 10 * (clips.square().mean(1) / noise.square().mean(1)).log10()
    assert torch.allclose(ratio, torch.full((2,), snr_db), atol=0.2)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((RATE, RATE, 1, 96), "num_bands: must be >= 2, got 1."),
        ((RATE, RATE, 128, 96), r"num_bands: must be <= \d+, as each needs a frequency"),
        ((RATE, RATE, 40, 1), "num_frames: must be >= 2, got 1."),
        ((RATE, 300, 40, 96), "num_frames: must be <= 44, got 96."),
        ((RATE, 100, 40, 96), "num_frames: must be <= 0, got 96."),
    ],
)
def test_an_argument_out_of_range_is_named(arguments, text):
    with pytest.raises(ValueError, match=text):
        LogMel(*arguments)
