from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.io import wavfile

from distill_lab.data.checksum import checksum
from distill_lab.data.wav_folder import WavFolder, heard
from distill_lab.errors import DataError

RATE = 8000


def tone(hertz, rate=RATE, seconds=0.5):
    return 0.5 * np.sin(2 * math.pi * hertz * np.arange(round(rate * seconds)) / rate)


@pytest.fixture
def folder(tmp_path):
    """Low and high tones: ten of each to train on, two to test on."""
    for split, count in (("train", 10), ("test", 2)):
        for name, hertz in (("high", 2000), ("low", 300)):
            place = tmp_path / split / name
            place.mkdir(parents=True)
            for number in range(count):
                sound = (tone(hertz + 10 * number) * 2**15).astype(np.int16)
                wavfile.write(place / f"{number}.wav", RATE, sound)
    return tmp_path


def make(folder, **changes):
    given = {
        "num_classes": 2,
        "rate": RATE,
        "seconds": 0.5,
        "num_bands": 20,
        "num_frames": 12,
        "validation_fraction": 0.2,
        "split_seed": 0,
    }
    return WavFolder(str(folder), **(given | changes))


def test_files_become_pictures_with_the_class_of_their_folder(folder):
    data = make(folder)
    train, validation, test = data.load()
    assert train.inputs.shape == (16, 1, 20, 12)
    assert validation.targets.bincount().tolist() == [2, 2]
    assert test.targets.tolist() == [0, 0, 1, 1]
    assert data.info.class_names == ("high", "low")
    loudest = test.inputs[:, 0].mean(2).argmax(1)
    assert int(loudest[:2].min()) > int(loudest[2:].max())
    assert checksum(data.load()) == checksum(make(folder).load())


def test_a_short_file_is_followed_by_silence_and_a_long_one_is_cut(folder):
    for name, seconds in (("0", 0.1), ("1", 3.0)):
        sound = (tone(300, seconds=seconds) * 2**15).astype(np.int16)
        wavfile.write(folder / "test" / "low" / f"{name}.wav", RATE, sound)
    assert make(folder).load().test.inputs.shape == (4, 1, 20, 12)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.float32])
def test_every_kind_of_number_is_read_as_the_same_sound(tmp_path, kind):
    sound = tone(440)
    if kind is np.uint8:
        stored = np.round(sound * 128 + 128).astype(kind)
    elif kind is np.float32:
        stored = sound.astype(kind)
    else:
        stored = np.round(sound * 2.0 ** (8 * kind().itemsize - 1)).astype(kind)
    wavfile.write(tmp_path / "a.wav", RATE, stored)
    np.testing.assert_allclose(heard(str(tmp_path / "a.wav"), RATE, 4000), sound, atol=0.01)


def test_channels_are_averaged_and_rates_are_brought_together(tmp_path):
    sound = tone(440, rate=24000).astype(np.float32)
    wavfile.write(tmp_path / "a.wav", 24000, np.stack([sound * 2, sound * 0], 1))
    found = heard(str(tmp_path / "a.wav"), RATE, 4000)
    np.testing.assert_allclose(found[100:-100], tone(440)[100:-100], atol=0.01)


def test_what_is_no_sound_is_named(folder):
    (folder / "train" / "low" / "0.wav").write_bytes(b"no sound")
    with pytest.raises(DataError, match=r"train/low/0.wav: cannot be read"):
        make(folder).load()


@pytest.mark.parametrize("kept", [4, 20, 30, 44])
def test_a_file_that_is_cut_off_is_named(folder, kept):
    path = folder / "train" / "low" / "0.wav"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"train/low/0.wav: (cannot be read|holds no sound)"):
        make(folder).load()


def test_another_number_of_classes_is_named(folder):
    with pytest.raises(DataError, match=r"data.num_classes: must be 2, the number of folders"):
        make(folder, num_classes=3).load()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"num_classes": 1}, "num_classes: must be >= 2, got 1."),
        ({"rate": 10}, "rate: must be >= 1000, got 10."),
        ({"seconds": 0}, "seconds: must be > 0, got 0."),
        ({"validation_fraction": 1.0}, r"validation_fraction: must be in \(0, 1\), got 1.0."),
        ({"num_frames": 1}, "num_frames: must be >= 2, got 1."),
    ],
)
def test_an_argument_out_of_range_is_named(tmp_path, changes, text):
    with pytest.raises(ValueError, match=text):
        make(tmp_path, **changes)
