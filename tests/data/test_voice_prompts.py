from __future__ import annotations

import wave

import numpy as np
import pytest

from distill_lab.data import voice_prompts
from distill_lab.data.checksum import checksum, digest
from distill_lab.data.voice_prompts import VOICES, VoicePrompts, clips_of, from_folder
from distill_lab.errors import DataError


def write(path, samples, rate=8000):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.asarray(samples, "<i2").tobytes())


@pytest.fixture
def sounds(tmp_path):
    """Ten recordings in each language, of 1 to 2.8 seconds, and one of silence."""
    random = np.random.RandomState(0)
    for voice in VOICES.values():
        for number in range(10):
            length = 8000 + 1600 * number
            path = tmp_path / "sounds" / voice / "digits" / f"{number}.wav"
            write(path, random.randint(-9000, 9000, length))
        write(tmp_path / "sounds" / voice / "silence" / "1.wav", np.zeros(16000))
    return tmp_path / "sounds"


@pytest.fixture
def toy(sounds, monkeypatch):
    """The toy recordings in place of the pinned ones."""
    monkeypatch.setattr(voice_prompts, "INSTALLED", sounds)
    monkeypatch.setattr(voice_prompts, "SHA256", digest(from_folder(sounds)))


def make(folder, **changes):
    given = {
        "seconds": 0.5,
        "snr_db": 5.0,
        "num_bands": 8,
        "num_frames": 12,
        "validation_fraction": 0.1,
        "test_fraction": 0.2,
        "split_seed": 0,
    }
    return VoicePrompts(str(folder / "data_cache"), **(given | changes))


def test_all_recordings_are_read_but_those_of_silence(sounds):
    raw = from_folder(sounds)
    assert raw["languages"].tolist() == sorted(list(range(5)) * 10)
    assert np.diff(raw["ends"], prepend=0)[:10].tolist() == [8000 + 1600 * n for n in range(10)]
    assert raw["samples"].dtype == np.int16


def test_clips_lie_side_by_side_and_the_rest_and_the_quiet_ones_are_left_out():
    loud, quiet = np.full(10, 8000, np.int16), np.full(10, 30, np.int16)
    sounds = [np.concatenate([loud, quiet, loud, loud[:7]]), loud[:9], loud]
    ends = np.cumsum([len(sound) for sound in sounds])
    raw = {"samples": np.concatenate(sounds), "ends": ends}
    clips, owners = clips_of(raw, [0, 1, 2], 10)
    assert clips.tolist() == [loud.tolist()] * 3
    assert owners.tolist() == [0, 0, 2]


def test_pictures_have_the_language_of_their_recording(toy, tmp_path):
    train, validation, test = make(tmp_path).load()
    assert train.inputs.shape[1:] == (1, 8, 12)
    # 2 to 5 clips of half a second in each of 35, 5 and 10 recordings, languages in proportion.
    for split, recordings in ((train, 7), (validation, 1), (test, 2)):
        counts = split.targets.bincount()
        assert len(counts) == 5
        assert (counts >= 2 * recordings).all()
        assert (counts <= 5 * recordings).all()


def test_the_split_seed_decides_recordings_and_noise(toy, tmp_path):
    first, again, other = (make(tmp_path, split_seed=seed).load() for seed in (0, 0, 1))
    assert checksum(first) == checksum(again) != checksum(other)
    assert checksum(make(tmp_path, snr_db=None).load()) != checksum(first)


def test_a_small_share_is_one_recording(toy, tmp_path):
    _, validation, _ = make(tmp_path, validation_fraction=1e-6).load()
    assert len(validation.targets.unique()) == 1


def test_no_recording_is_in_two_splits(toy, tmp_path, monkeypatch):
    chosen = []
    monkeypatch.setattr(
        voice_prompts, "clips_of", lambda raw, own, n: chosen.append(own) or clips_of(raw, own, n)
    )
    make(tmp_path).load()
    assert sorted(number for own in chosen for number in own) == list(range(50))


@pytest.mark.parametrize("rate", [16000])
def test_a_recording_of_another_form_is_refused(sounds, rate):
    write(sounds / "fr_CA_f_June" / "0.wav", [1, 2], rate)
    with pytest.raises(DataError, match=r"0.wav: must have one channel of 16 bits at 8000 Hz"):
        from_folder(sounds)


def test_what_is_no_wav_file_is_named(sounds):
    (sounds / "fr_CA_f_June" / "0.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"0.wav: is no wav file"):
        from_folder(sounds)


def test_a_missing_language_is_named(sounds):
    for path in (sounds / "ru_RU_f_IvrvoiceRU").rglob("*.wav"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match="ru_RU_f_IvrvoiceRU has no recordings"):
        from_folder(sounds)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"seconds": 0.05}, r"seconds: must be in \[0.1, 4\], got 0.05."),
        ({"validation_fraction": 0.0}, r"validation_fraction: must be in \(0, 1\), got 0.0."),
        ({"test_fraction": 0.9}, "test_fraction: must be < 0.9, got 0.9."),
        ({"snr_db": -400.0}, r"snr_db: must be in \[-60, 60\] or null, got -400.0."),
        ({"num_bands": 1}, "num_bands: must be >= 2, got 1."),
    ],
)
def test_an_argument_out_of_range_is_named(tmp_path, changes, text):
    with pytest.raises(ValueError, match=text):
        make(tmp_path, **changes)
