"""Your own users: a CSV file of who had what, and when."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from distill_lab.contracts import Splits
from distill_lab.data.csv_texts import columns_of, in_order
from distill_lab.data.histories import Histories
from distill_lab.errors import DataError


class CsvInteractions:
    """A line per interaction, UTF-8, with a header line; see `Histories` for what is asked.

    Args:
        file: path, absolute or from the working directory.
        user_column: name of the column with the users, numbers or words.
        item_column: name of the column with the items, numbers or words.
        time_column: name of the column with the times, numbers.
        num_items: >= 2, different items in the file; a key, because networks are checked before any
            file is looked at.
        length: see `Histories`.
        rows_per_user: see `Histories`.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        file: str,
        user_column: str,
        item_column: str,
        time_column: str,
        num_items: int,
        length: int,
        rows_per_user: int | None,
    ) -> None:
        if num_items < 2:
            raise ValueError(f"num_items: must be >= 2, got {num_items}.")
        self.file = Path(file)
        self.columns = {
            "user_column": user_column,
            "item_column": item_column,
            "time_column": time_column,
        }
        self.histories = Histories(length, rows_per_user)
        name = re.sub(r"[^\w.-]+", "_", self.file.stem) or "csv_interactions"
        self.info = self.histories.info(name, num_items)

    def load(self) -> Splits:
        """Read the file; the same arrays every time.

        Raises:
            DataError: it is missing, has no such column, other items, a time that is no number, or
                no user with four items.
        """
        users, items, times = columns_of(self.file, self.columns)
        found = in_order(items)
        if len(found) != self.info.num_classes:
            raise DataError(
                f"data.num_items: must be {len(found)}, the number of items in {self.file}, got "
                f"{self.info.num_classes}."
            )
        numbers = {item: number for number, item in enumerate(found)}
        when = np.array([_number(time) for time in times])
        if not np.isfinite(when).all():
            row = int(np.flatnonzero(~np.isfinite(when))[0])
            raise DataError(
                f"data.time_column: {self.file}, row {row + 1}: {times[row]!r} is no number. Give "
                "times as numbers, e.g. seconds since 1970."
            )
        who = np.unique(np.array(users), return_inverse=True)[1]
        splits = self.histories.splits(who, np.array([numbers[item] for item in items]), when)
        if not len(splits.test.targets):
            raise DataError(
                f"data.user_column: no user of {self.file} has four items: two are trained on, one "
                "is for validation and one for test."
            )
        return splits


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
