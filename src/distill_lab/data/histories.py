"""Rows of the past of users, and what came next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distill_lab.contracts import Arrays, DataInfo, Splits

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Histories:
    """What is asked of the items of users in order of time.

    The last item of each user is asked for in test, the one before in validation, the others in
    training, each by what came before it; but for the first one, before which nothing came. Users
    with fewer than four items are left out.

    Source: Kang and McAuley 2018 (SASRec), arXiv:1808.09781, section 4.1.

    Attributes:
        length: L, items of the past in a row, the latest ones; >= 1.
        rows_per_user: the latest items of each user that training asks for; None: all.

    Raises:
        ValueError: an argument is out of range.
    """

    length: int
    rows_per_user: int | None

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"length: must be >= 1, got {self.length}.")
        if self.rows_per_user is not None and self.rows_per_user < 1:
            raise ValueError(f"rows_per_user: must be >= 1 or null, got {self.rows_per_user}.")

    def info(self, name: str, num_items: int) -> DataInfo:
        """Return what is known before anything is loaded."""
        return DataInfo(
            name=name,
            input_shape=(self.length,),
            num_classes=num_items,
            class_names=tuple(f"item {number + 1}" for number in range(num_items)),
            mean=(),
            std=(),
            vocabulary_size=num_items + 1,
            ranks_items=True,
        )

    def splits(self, users: np.ndarray, items: np.ndarray, times: np.ndarray) -> Splits:
        """Return inputs (N, L) int64, items from 1 on, the latest last, then 0; targets from 0 on.

        Of validation and test the whole past of each row is told too, as `Arrays.had`: who ranks
        items leaves all of it out, as RecBole's full ranking does.

        Args:
            users: (M,) who.
            items: (M,) what; numbered from 0 on by their order.
            times: (M,) when; those of one time stay in the order in which they are given, as an
                order by item would be one that networks can learn.
        """
        order = np.lexsort([times, users])
        own, numbers = users[order], np.unique(items, return_inverse=True)[1][order]
        starts = np.flatnonzero(own[1:] != own[:-1]) + 1
        rows: dict[str, list[tuple[np.ndarray, int]]] = {"train": [], "validation": [], "test": []}
        for history in np.split(numbers, starts):
            last = len(history) - 1
            if last < 3:
                continue
            rows["test"].append((history[:last], history[last]))
            rows["validation"].append((history[: last - 1], history[last - 1]))
            most = last if self.rows_per_user is None else self.rows_per_user
            first = max(1, last - 1 - most)
            rows["train"] += [(history[:at], history[at]) for at in range(first, last - 1)]
        return Splits(
            self._arrays(rows["train"]),
            self._arrays(rows["validation"])._replace(had=_had(rows["validation"])),
            self._arrays(rows["test"])._replace(had=_had(rows["test"])),
        )

    def _arrays(self, rows: list[tuple[np.ndarray, int]]) -> Arrays:
        import torch

        inputs = np.zeros((len(rows), self.length), np.int64)
        for row, (past, _) in zip(inputs, rows, strict=True):
            latest = past[-self.length :]
            row[: len(latest)] = latest + 1
        targets = np.array([item for _, item in rows], np.int64)
        return Arrays(torch.from_numpy(inputs), torch.from_numpy(targets))


def _had(rows: list[tuple[np.ndarray, int]]) -> Tensor:
    """Return (M, 2): the number of a row and an item of its past, each pair once."""
    import torch

    pairs = [np.stack([np.full_like(past, row), past], 1) for row, (past, _) in enumerate(rows)]
    every = np.concatenate([np.empty((0, 2), np.int64), *pairs])
    return torch.from_numpy(np.unique(every, axis=0))
