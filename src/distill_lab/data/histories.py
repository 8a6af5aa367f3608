"""Rows of the past of users, and what came next."""

from __future__ import annotations

import numpy as np

from distill_lab.contracts import Arrays, Splits


def leave_last_out(
    users: np.ndarray, items: np.ndarray, length: int, rows_per_user: int | None
) -> Splits:
    """Ask for the last item of each user in test, for the one before in validation.

    The others are asked for in training, each by what came before it, but for the first one, before
    which nothing came. Users with fewer than four items are left out.

    Source: Kang and McAuley 2018 (SASRec), arXiv:1808.09781, section 4.1.

    Args:
        users: (M,) from 0, ascending.
        items: (M,) from 0, of each user in order of time.
        length: L, items of the past in a row, the latest ones.
        rows_per_user: the latest items of each user that training asks for; None: all.

    Returns:
        Inputs (N, L) int64, items from 1 on, the latest one last, then 0; targets from 0 on.
    """
    starts = np.flatnonzero(np.diff(users, prepend=-1))
    rows: dict[str, list[tuple[np.ndarray, int]]] = {"train": [], "validation": [], "test": []}
    for own in np.split(items, starts[1:]):
        last = len(own) - 1
        if last < 3:
            continue
        rows["test"].append((own[:last], own[last]))
        rows["validation"].append((own[: last - 1], own[last - 1]))
        first = 1 if rows_per_user is None else max(1, last - 1 - rows_per_user)
        rows["train"] += [(own[:place], own[place]) for place in range(first, last - 1)]
    return Splits(**{split: _arrays(found, length) for split, found in rows.items()})


def _arrays(rows: list[tuple[np.ndarray, int]], length: int) -> Arrays:
    import torch

    inputs = np.zeros((len(rows), length), np.int64)
    for row, (past, _) in zip(inputs, rows, strict=True):
        latest = past[-length:]
        row[: len(latest)] = latest + 1
    targets = np.array([item for _, item in rows], np.int64)
    return Arrays(torch.from_numpy(inputs), torch.from_numpy(targets))
