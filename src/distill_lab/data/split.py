"""Fixed splits that hold every class in proportion."""

from __future__ import annotations

import torch
from torch import Tensor

from distill_lab.data.counter import Stream, permutation


def stratified(targets: Tensor, sizes: tuple[int, ...], seed: int) -> tuple[Tensor, ...]:
    """Deal the samples into parts of the given sizes and one part with the rest.

    Args:
        targets: (N,) int64 class indices.
        sizes: samples per part.
        seed: decides which sample goes where.

    Returns:
        One ascending int64 tensor of sample numbers per size, then the rest. A part of n samples
        has n * N_k / N samples of class k, give or take less than two.

    Raises:
        ValueError: a part, or the rest, would be empty.
    """
    rest = len(targets) - sum(sizes)
    if min(*sizes, rest) < 1:
        raise ValueError(
            f"sizes: each must be >= 1 and their sum < {len(targets)}, the number of samples, "
            f"got {sizes}."
        )
    parts = _even_order(targets, seed).split([*sizes, rest])
    return tuple(part.sort().values for part in parts)


def _even_order(targets: Tensor, seed: int) -> Tensor:
    """A random order in which each class is spread evenly, so any stretch of it is stratified."""
    shuffled = permutation(len(targets), seed, 0, Stream.SPLIT)
    grouped = shuffled[targets[shuffled].argsort(stable=True)]
    counts = targets.bincount()
    first = counts.cumsum(0) - counts
    classes = targets[grouped]
    rank = torch.arange(len(targets)) - first[classes]
    return grouped[((rank + 0.5).double() / counts[classes]).argsort(stable=True)]
