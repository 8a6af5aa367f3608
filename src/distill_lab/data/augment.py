"""Augmentation of whole batches: pure functions of the pixels and (seed, index, view)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from distill_lab.contracts import DataInfo
from distill_lab.data.counter import Stream, uniform
from distill_lab.data.normalise import normalise


@dataclass(frozen=True)
class Augmentation:
    """What is done to training images at random: shift, then mirror, normalise, blank a square.

    The numbers of a whole pass are drawn at once, because drawing those of one batch costs as much
    as a training step of a small network.

    Attributes:
        seed: of the run.
        shift_pixels: >= 0, largest shift along either axis, filled with 0 (black).
        horizontal_flip: whether half of the images are mirrored left to right.
        cutout_pixels: >= 0, side of the square that is blanked.

    Raises:
        ValueError: a number of pixels is negative.
    """

    seed: int
    shift_pixels: int = 0
    horizontal_flip: bool = False
    cutout_pixels: int = 0

    def __post_init__(self) -> None:
        for name in ("shift_pixels", "cutout_pixels"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: must be >= 0, got {getattr(self, name)}.")

    @property
    def is_on(self) -> bool:
        """Whether anything is done at all."""
        return bool(self.shift_pixels or self.horizontal_flip or self.cutout_pixels)

    def draw(self, index: Tensor, view: Tensor | int, height: int, width: int) -> Tensor:
        """Draw the numbers of samples; 0 for what is off.

        Args:
            index: (N,) number of each sample in its split.
            view: (N,) or one integer, number of the augmentation.
            height: H of the images.
            width: W of the images.

        Returns:
            (N, 5) int64: pixels down, pixels to the right, whether mirrored, and row and column of
            the middle of the square.
        """

        def below(limit: int, stream: Stream) -> Tensor:
            return (uniform(self.seed, index, view, stream) * limit).long()

        down = right = mirrored = row = column = torch.zeros_like(index)
        if self.shift_pixels:
            reach = 2 * self.shift_pixels + 1
            down = below(reach, Stream.SHIFT_DOWN) - self.shift_pixels
            right = below(reach, Stream.SHIFT_RIGHT) - self.shift_pixels
        if self.horizontal_flip:
            mirrored = 1 - below(2, Stream.FLIP)
        if self.cutout_pixels:
            row = below(height, Stream.CUTOUT_ROW)
            column = below(width, Stream.CUTOUT_COLUMN)
        return torch.stack([down, right, mirrored, row, column], 1)

    def frame(self, inputs: Tensor, batch_size: int) -> Tensor:
        """Make the working memory of `apply` for batches of (C, H, W) images like `inputs`."""
        _, channels, height, width = inputs.shape
        border = 2 * self.shift_pixels
        return inputs.new_zeros(batch_size, channels, height + border, width + border)

    def apply(self, inputs: Tensor, numbers: Tensor, info: DataInfo, frame: Tensor) -> Tensor:
        """Augment and normalise a batch.

        Args:
            inputs: (B, C, H, W), pixels in [0, 1]; written over.
            numbers: (B, 5) on the CPU, see `draw`.
            info: of the dataset.
            frame: see `frame`.
        """
        down, right, mirrored, row, column = numbers.unbind(1)
        if self.shift_pixels:
            inputs = translate(inputs, down, right, frame)
        if self.horizontal_flip:
            mirror_(inputs, mirrored)
        normalise(inputs, info, out=inputs)
        if self.cutout_pixels:
            blank_(inputs, row, column, self.cutout_pixels)
        return inputs


def translate(inputs: Tensor, down: Tensor, right: Tensor, frame: Tensor) -> Tensor:
    """Move each image by the given offsets; what comes in from outside is 0.

    Args:
        inputs: (B, C, H, W).
        down: (B,) int64 in [-limit, limit], pixels towards higher rows; on the CPU.
        right: (B,) int64 in [-limit, limit], pixels towards higher columns; on the CPU.
        frame: (>= B, C, H + 2 limit, W + 2 limit), contiguous, 0 along its border; the images are
            written into it. Kept from batch to batch, it saves half the time.
    """
    batch, channels, height, width = inputs.shape
    limit = (frame.shape[2] - height) // 2
    frame[:batch, :, limit : limit + height, limit : limit + width] = inputs
    per_image, per_channel, per_row, _ = frame.stride()
    unmoved = limit * (per_row + 1)
    starts = torch.arange(unmoved, unmoved + batch * per_image, per_image)
    starts = (starts - right).sub_(down, alpha=per_row)
    # A view of the frame from every pixel on. Selecting from it copies whole rows; indexing rows
    # and columns, or a gather of single pixels, takes three times as long.
    count = (batch - 1) * per_image + 2 * unmoved + 1
    windows = frame.as_strided((count, channels, height, width), (1, per_channel, per_row, 1))
    return windows.index_select(0, starts.to(inputs.device, non_blocking=True))


def mirror_(inputs: Tensor, mirrored: Tensor) -> None:
    """Mirror the chosen images left to right, in place.

    Args:
        inputs: (B, C, H, W).
        mirrored: (B,), not 0 for the chosen; on the CPU.
    """
    chosen = mirrored.nonzero().flatten().to(inputs.device, non_blocking=True)
    inputs.index_copy_(0, chosen, inputs.index_select(0, chosen).flip(3))


def blank_(inputs: Tensor, row: Tensor, column: Tensor, side: int) -> None:
    """Set a square of each image to 0 in place: the mean colour, where inputs are normalised.

    Source: DeVries and Taylor 2017, arXiv:1708.04552, section 3.2. Their code makes a square of an
    odd side one pixel smaller.

    Args:
        inputs: (B, C, H, W).
        row: (B,) row of the square's middle, which may reach over the border; on the CPU.
        column: (B,) its column; on the CPU.
        side: of the square, in pixels.
    """
    height, width = inputs.shape[2:]
    # Every mask is a window of one plane that has the square in its middle.
    plane = inputs.new_ones(2 * height + side, 2 * width + side)
    plane[height : height + side, width : width + side] = 0
    per_row = plane.shape[1]
    down, right = height + side // 2, width + side // 2
    starts = (down - row) * per_row + (right - column)
    masks = plane.as_strided((down * per_row + right + 1, height, width), (1, per_row, 1))
    chosen = masks.index_select(0, starts.to(inputs.device, non_blocking=True))
    inputs.mul_(chosen[:, None])
