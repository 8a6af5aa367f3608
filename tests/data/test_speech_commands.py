from __future__ import annotations

import hashlib
import io
import tarfile

import numpy as np
import pytest
from scipy.io import wavfile

from distill_lab.data import speech_commands
from distill_lab.data.checksum import checksum
from distill_lab.data.speech_commands import WORDS, SpeechCommands
from distill_lab.errors import DataError


def archive_of(folder, extra=()):
    """Three recordings of "yes" and "no" and one of noise, as the archive has them."""
    random = np.random.RandomState(0)
    for word in ("no", "yes", "_background_noise_"):
        (folder / word).mkdir(parents=True)
        for speaker in "abc" if word in WORDS else "a":
            sound = random.randint(-9000, 9000, 16_000).astype(np.int16)
            wavfile.write(folder / word / f"{speaker}_nohash_0.wav", 16_000, sound)
    (folder / "validation_list.txt").write_text("no/b_nohash_0.wav\nyes/b_nohash_0.wav\n")
    (folder / "testing_list.txt").write_text("no/c_nohash_0.wav\nyes/c_nohash_0.wav\n")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(folder, ".")
        for name in extra:
            archive.addfile(tarfile.TarInfo(name))
    return packed.getvalue()


@pytest.fixture
def serve(monkeypatch):
    """Lets the address of the archive answer with something else; counts the calls."""
    calls = []

    def make(content):
        def urlopen(address, timeout):
            calls.append(address)
            return io.BytesIO(content)

        monkeypatch.setattr(speech_commands, "urlopen", urlopen)
        monkeypatch.setattr(speech_commands, "NUM_FILES", 6)
        monkeypatch.setattr(speech_commands, "SHA256", hashlib.sha256(content).hexdigest())
        return calls

    return make


def make(folder):
    return SpeechCommands(str(folder / "data_cache"), num_bands=8, num_frames=12)


def test_the_archive_is_had_once_and_split_as_published(tmp_path, serve):
    calls = serve(archive_of(tmp_path / "source"))
    splits = make(tmp_path).load()
    for split in splits:
        assert split.inputs.shape == (2, 1, 8, 12)
        assert [WORDS[number] for number in split.targets] == ["no", "yes"]
    assert checksum(make(tmp_path).load()) == checksum(splits)
    assert len(calls) == 1


def test_another_archive_is_refused_and_leaves_nothing(tmp_path, serve, monkeypatch):
    serve(archive_of(tmp_path / "source"))
    monkeypatch.setattr(speech_commands, "SHA256", "0" * 64)
    with pytest.raises(DataError, match="SHA-256 must be 000"):
        make(tmp_path).load()
    kept = [path.name for path in (tmp_path / "data_cache").iterdir()]
    assert kept == ["speech_commands_v0.02.lock"]


def test_an_archive_that_would_write_elsewhere_is_refused(tmp_path, serve):
    serve(archive_of(tmp_path / "source", extra=["../../outside"]))
    with pytest.raises(DataError, match="cannot be had"):
        make(tmp_path).load()
    assert not (tmp_path / "outside").exists()
    assert not (tmp_path / "data_cache" / "speech_commands_v0.02").exists()


def test_a_network_that_is_away_is_told(tmp_path, monkeypatch):
    def urlopen(address, timeout):
        raise OSError("no network")

    monkeypatch.setattr(speech_commands, "urlopen", urlopen)
    with pytest.raises(DataError, match=r"cannot be had \(no network\)"):
        make(tmp_path).load()


def test_a_folder_that_is_not_whole_is_named(tmp_path):
    (tmp_path / "data_cache" / "speech_commands_v0.02").mkdir(parents=True)
    with pytest.raises(DataError, match="is not whole"):
        make(tmp_path).load()


@pytest.mark.parametrize(
    ("file", "text"),
    [("yes/c_nohash_0.wav", "lacks yes/c_nohash_0.wav"), ("no/a_nohash_0.wav", "has 5 recordings")],
)
def test_a_recording_that_is_gone_is_missed(tmp_path, serve, file, text):
    serve(archive_of(tmp_path / "source"))
    make(tmp_path).load()
    (tmp_path / "data_cache" / "speech_commands_v0.02" / file).unlink()
    with pytest.raises(DataError, match=text):
        make(tmp_path).load()


def test_the_words_are_in_order():
    assert len(WORDS) == 35
    assert list(WORDS) == sorted(WORDS)
