"""Whole batches out of a split held in memory: no worker processes, no sample-by-sample work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil

import torch
from torch import Tensor

from distill_lab.contracts import Arrays, Batch
from distill_lab.data.counter import Stream, permutation

Prepare = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(inputs (B, ...), index (B,), view (B,)) -> inputs (B, ...)."""


class Loader:
    """Each pass yields every sample of a split once; passes differ only by their view.

    Args:
        arrays: the split.
        batch_size: >= 1; the last batch may be smaller.
        prepare: applied to the inputs of each batch.
        view: called when a pass starts; the number of that pass.
        shuffle_seed: the order is a function of it and the view; None keeps the order of the split.
        drop_lone: leave out a last batch of one sample while there are others, because batch norm
            cannot train on one sample.
    """

    def __init__(
        self,
        arrays: Arrays,
        batch_size: int,
        prepare: Prepare,
        view: Callable[[], int] = lambda: 0,
        shuffle_seed: int | None = None,
        drop_lone: bool = False,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size: must be >= 1, got {batch_size}.")
        self.arrays = arrays
        self.batch_size = batch_size
        self.prepare = prepare
        self.view = view
        self.shuffle_seed = shuffle_seed
        self.drop_lone = drop_lone

    def __len__(self) -> int:
        """Number of batches in a pass."""
        num_samples = len(self.arrays.targets)
        lone = self.batch_size > 1 and num_samples % self.batch_size == 1
        dropped = self.drop_lone and lone and num_samples > 1
        return ceil(num_samples / self.batch_size) - dropped

    def __iter__(self) -> Iterator[Batch]:
        """Start a pass."""
        view = self.view()
        for index in self._order(view).split(self.batch_size)[: len(self)]:
            views = torch.full_like(index, view)
            inputs = self.prepare(self.arrays.inputs[index], index, views)
            yield Batch(inputs, self.arrays.targets[index], index, views)

    def _order(self, view: int) -> Tensor:
        num_samples = len(self.arrays.targets)
        if self.shuffle_seed is None:
            return torch.arange(num_samples)
        return permutation(num_samples, self.shuffle_seed, view, Stream.SHUFFLE)
