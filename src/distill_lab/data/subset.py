"""A part of the training split to train on, whose samples keep their numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from distill_lab.data.counter import Stream, permutation


def subset(
    targets: Tensor, leave_out_classes: Sequence[int], num_samples: int | None, seed: int
) -> Tensor:
    """Return the ascending numbers (M,) of the samples that are trained on.

    Args:
        targets: (N,) int64 class indices of the whole split.
        leave_out_classes: whose samples are left out.
        num_samples: how many of the rest are drawn; None for all.
        seed: decides which are drawn.

    Raises:
        ValueError: there are fewer than two samples, or fewer than are asked for.
    """
    order = permutation(len(targets), seed, 0, Stream.SUBSET)
    left_out = torch.tensor(list(leave_out_classes), dtype=targets.dtype)
    order = order[~torch.isin(targets[order], left_out)]
    wanted = len(order) if num_samples is None else num_samples
    if not 2 <= wanted <= len(order):
        but = f" without classes {list(leave_out_classes)}" if leave_out_classes else ""
        raise ValueError(
            f"num_samples: must be in [2, {len(order)}], the size of the training split{but}, "
            f"got {wanted}."
        )
    return order[:wanted].sort().values
