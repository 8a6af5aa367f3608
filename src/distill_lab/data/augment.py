"""Augmentation of whole batches: pure functions of the pixels and (seed, index, view)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from distill_lab.data.counter import Stream, uniform


def shift(inputs: Tensor, pixels: int, seed: int, index: Tensor, view: Tensor | int) -> Tensor:
    """Move each image by its own whole number of pixels, up to `pixels` each way, filled with 0.

    Args:
        inputs: (B, C, H, W), not normalised, so that 0 is black.
        pixels: >= 0, the largest shift along either axis.
        seed: of the run.
        index: (B,) number of each sample in its split.
        view: (B,) or one integer, number of the augmentation.

    Raises:
        ValueError: pixels is negative.
    """
    if pixels < 0:
        raise ValueError(f"pixels: must be >= 0, got {pixels}.")
    down, right = (
        (uniform(seed, index, view, stream) * (2 * pixels + 1)).long() - pixels
        for stream in (Stream.SHIFT_DOWN, Stream.SHIFT_RIGHT)
    )
    return translate(inputs, down, right, pixels)


def translate(inputs: Tensor, down: Tensor, right: Tensor, limit: int) -> Tensor:
    """Move each image by the given offsets; what comes in from outside is 0.

    Args:
        inputs: (B, C, H, W).
        down: (B,) int64 in [-limit, limit], pixels towards higher rows.
        right: (B,) int64 in [-limit, limit], pixels towards higher columns.
        limit: >= 0, the largest offset there may be.
    """
    batch, channels, height, width = inputs.shape
    padded = pad(inputs, (limit, limit, limit, limit))
    rows = (limit - down)[:, None, None] + torch.arange(height, device=down.device)[:, None]
    columns = (limit - right)[:, None, None] + torch.arange(width, device=down.device)
    pixels = (rows * padded.shape[3] + columns).view(batch, 1, -1).expand(-1, channels, -1)
    # One gather over flat pixels is several times faster here than indexing rows and columns.
    return padded.flatten(2).gather(2, pixels).view(inputs.shape)


def horizontal_flip(inputs: Tensor, seed: int, index: Tensor, view: Tensor | int) -> Tensor:
    """Mirror each image left to right with probability one half.

    Args:
        inputs: (B, C, H, W).
        seed: of the run.
        index: (B,) number of each sample in its split.
        view: (B,) or one integer, number of the augmentation.
    """
    mirrored = uniform(seed, index, view, Stream.FLIP) < 0.5
    return torch.where(mirrored[:, None, None, None], inputs.flip(3), inputs)
