"""Whole batches out of a split: no sample-by-sample work in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from distill_lab.contracts import Arrays, Batch, DataInfo
from distill_lab.data.augment import Augmentation
from distill_lab.data.counter import Stream, permutation
from distill_lab.data.normalise import normalise
from distill_lab.data.placement import moved, resident, select
from distill_lab.data.word_augment import WordAugmentation

CPU = torch.device("cpu")


class Loader:
    """Each pass yields the samples of a split once, normalised; passes differ by their view.

    For training the order is a function of seed and view, and a last batch of one sample is left
    out while there are others, because batch norm cannot train on one sample. Where several
    processes share the batches, each yields its rows of the inputs and all of the rest; a last
    batch in which one of them would have no row is left out too.

    Args:
        arrays: the split; un-normalised.
        info: of the dataset.
        batch_size: >= 1; the last batch may be smaller.
        augmentation: of training; None yields the samples as they are, in the order of the split.
        view: called when a pass starts; the number of that pass.
        device: where inputs and targets of the batches are wanted; index and view stay on the CPU,
            where they are read.
        samples: (M,) int64, numbers of the samples that are yielded; None for all.
        had: called with the number of a pass; how many of its batches an earlier process had. They
            are yielded without samples, and nothing is read for them.
        share: number of this process, and of how many; its rows of a batch are those that
            `torch.tensor_split` gives it.
    """

    def __init__(
        self,
        arrays: Arrays,
        info: DataInfo,
        batch_size: int,
        augmentation: Augmentation | WordAugmentation | None = None,
        view: Callable[[], int] = lambda: 0,
        device: torch.device = CPU,
        samples: Tensor | None = None,
        had: Callable[[int], int] = lambda view: 0,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size: must be >= 1, got {batch_size}.")
        self.arrays = resident(arrays, device)
        self.samples = torch.arange(len(arrays.targets)) if samples is None else samples
        self.info = info
        self.batch_size = batch_size
        self.augmentation = augmentation
        self.view = view
        self.device = device
        self.had = had
        self.share = share

    def __len__(self) -> int:
        """Number of batches in a pass."""
        whole, left = divmod(len(self.samples), self.batch_size)
        enough = left >= max(2, self.share[1]) or self.augmentation is None or whole == 0
        return whole + (left > 0 and enough)

    def __iter__(self) -> Iterator[Batch]:
        """Start a pass."""
        view = self.view()
        order = self._order(view)
        parts = order.split(self.batch_size)[: len(self)]
        first = self.had(view)
        yield from [Batch(*torch.empty(4, 0, dtype=torch.int64))] * first
        parts = parts[first:]
        for index, inputs in zip(parts, self._prepared(self._own(parts), view), strict=True):
            targets = select(self.arrays.targets, index, self.device)
            yield Batch(inputs, targets, index, torch.full_like(index, view))

    def _order(self, view: int) -> Tensor:
        if self.augmentation is None:
            return self.samples
        seed = self.augmentation.seed
        return self.samples[permutation(len(self.samples), seed, view, Stream.SHUFFLE)]

    def _own(self, parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        rank, size = self.share
        return tuple(part.tensor_split(size)[rank] for part in parts)

    def _prepared(self, parts: tuple[Tensor, ...], view: int) -> Iterator[Tensor]:
        augmentation, read = self.augmentation, self._read(parts, view)
        if augmentation is None or not augmentation.is_on:
            yield from (normalise(inputs, self.info, out=inputs) for inputs in read)
            return
        if isinstance(augmentation, WordAugmentation):
            for inputs, index in zip(read, parts, strict=True):
                yield augmentation.apply(inputs, index, view, self.info)
            return
        height, width = self.info.input_shape[1:]
        if not parts:
            return
        drawn = augmentation.draw(torch.cat(parts), view, height, width)
        frame: Tensor | None = None
        for inputs, numbers in zip(read, drawn.split(list(map(len, parts))), strict=True):
            if frame is None:
                frame = augmentation.frame(inputs, self.batch_size)
            yield augmentation.apply(inputs, numbers, self.info, frame)

    def _read(self, parts: tuple[Tensor, ...], view: int) -> Iterator[Tensor]:
        """Yield the pixels of each batch on the device, as a copy that may be written over."""
        inputs = self.arrays.inputs
        if isinstance(inputs, Tensor):
            yield from (select(inputs, index, self.device) for index in parts)
            return
        seed = None if self.augmentation is None else self.augmentation.seed
        for images in inputs.read(parts, seed, view):
            # A byte per pixel until it is there: a quarter of the transfer.
            yield moved(images, self.device).float().div_(255)
