"""Images in files, used like the tensor of their pixels that memory cannot hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from distill_lab.data.counter import Stream, uniforms
from distill_lab.data.decode import NUM_NUMBERS, Decoder, Request
from distill_lab.data.workers import Workers

DECODED_AT_ONCE = 64
"""Images per process and turn, where a few are asked for."""


class Images:
    """A split's inputs: (N, C, H, W), decoded when they are asked for.

    Args:
        paths: N files.
        decoder: decides C, H and W.
        signature: stands for all the pixels, see `contracts.Stored`.
        varies: whether training cuts another part out of each image in every view.
        num_workers: >= 0 processes that decode; 0 for none.
    """

    def __init__(
        self, paths: list[str], decoder: Decoder, signature: str, varies: bool, num_workers: int
    ) -> None:
        side = decoder.crop_pixels
        self.paths = paths
        self.shape: tuple[int, ...] = (len(paths), decoder.channels, side, side)
        self.signature = signature
        self.varies = varies
        self.workers = Workers(decoder, num_workers)

    def __len__(self) -> int:
        """Return N."""
        return len(self.paths)

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        """Decode a few: (B, C, H, W) float32 in [0, 1], cut out of the middle."""
        chosen = torch.arange(len(self))[index]
        return torch.cat(list(_floats(self.read(chosen.split(DECODED_AT_ONCE), None, 0))))

    def split(self, size: int) -> Iterator[Tensor]:
        """Yield all in order, `size` at a time, like `__getitem__`."""
        return _floats(self.read(torch.arange(len(self)).split(size), None, 0))

    def read(self, parts: Sequence[Tensor], seed: int | None, view: int) -> Iterator[Tensor]:
        """Yield the pixels of each part.

        Args:
            parts: of (B,) sample numbers each.
            seed: of the run, for training; None for evaluation, which is cut out of the middle.
            view: number of the augmentation; with seed and sample it decides a random crop.

        Returns:
            Of (B, C, H, W) uint8 each.

        Raises:
            DataError: a file cannot be read.
        """
        requests = (self._request(part, seed, view) for part in parts)
        return self.workers.decoded(requests, len(parts))

    def _request(self, index: Tensor, seed: int | None, view: int) -> Request:
        numbers = None
        if self.varies and seed is not None:
            numbers = uniforms(seed, index, view, Stream.CROP, NUM_NUMBERS).numpy()
        return Request([self.paths[number] for number in index.tolist()], numbers)


def _floats(images: Iterator[Tensor]) -> Iterator[Tensor]:
    return (chunk.float().div_(255) for chunk in images)
