"""Image files to pixels of one size; runs in worker processes, so it knows no split and no seed."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from distill_lab.errors import DataError

MODES = {1: "L", 3: "RGB"}
"""Number of channels -> what PIL calls it."""
ATTEMPTS = 10
NUM_NUMBERS = 4 * ATTEMPTS
"""Uniform numbers that `random_box` takes."""
AREA = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)

# What reading an image can raise, depending on which of its bytes is wrong.
_DAMAGED = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class Box(NamedTuple):
    """A part of an image, in pixels."""

    left: int
    top: int
    width: int
    height: int


class Request(NamedTuple):
    """One batch to be decoded.

    Attributes:
        paths: B files.
        numbers: (B, NUM_NUMBERS) float32 in [0, 1) for random crops; None for the middle.
    """

    paths: list[str]
    numbers: np.ndarray | None


@dataclass(frozen=True)
class Decoder:
    """Decodes batches, one `Request` each.

    Attributes:
        channels: 1 for grey, 3 for RGB.
        resize_pixels: length of the short side before the middle is cut out.
        crop_pixels: side of the square that is handed out.
    """

    channels: int
    resize_pixels: int
    crop_pixels: int

    def __getitem__(self, request: Request) -> Tensor | str:
        """Return (B, C, H, W) uint8, or what is wrong with a file.

        A text, because an error that leaves a worker process takes its traceback along.
        """
        side = self.crop_pixels
        batch = np.empty((len(request.paths), side, side, self.channels), np.uint8)
        for place, path in enumerate(request.paths):
            numbers = None if request.numbers is None else request.numbers[place].tolist()
            try:
                batch[place] = self._pixels(path, numbers)
            except DataError as error:
                return str(error)
        return torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous()

    def _pixels(self, path: str, numbers: Sequence[float] | None) -> np.ndarray:
        image = read(path, MODES[self.channels])
        if numbers is None:
            image = middle(image, self.resize_pixels, self.crop_pixels)
        else:
            image = resized(image, random_box(*image.size, numbers), self.crop_pixels)
        return np.asarray(image).reshape(image.height, image.width, self.channels)


def read(path: str, mode: str) -> Image.Image:
    """Decode a file.

    Raises:
        DataError: it is missing, truncated or no image.
    """
    try:
        with Image.open(path) as image:
            return image.convert(mode)
    except _DAMAGED as error:
        raise DataError(
            f"{Path(path).resolve()}: cannot be read as an image ({error}). "
            "Fetch it again, or take it out of the folder."
        ) from error


def middle(image: Image.Image, short_side: int, side: int) -> Image.Image:
    """Resize to a short side, keeping the ratio, and cut the square out of the middle."""
    width, height = image.size
    if width <= height:
        size = (short_side, short_side * height // width)
    else:
        size = (short_side * width // height, short_side)
    image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = (round((length - side) / 2) for length in size)
    return image.crop((left, top, left + side, top + side))


def resized(image: Image.Image, box: Box, side: int) -> Image.Image:
    """Scale a part of the image to a square."""
    part = image.crop((box.left, box.top, box.left + box.width, box.top + box.height))
    return part.resize((side, side), Image.Resampling.BILINEAR)


def random_box(width: int, height: int, numbers: Sequence[float]) -> Box:
    """Choose a part of an image: 8 % to 100 % of its area, 3/4 to 4/3 as wide as it is high.

    The first of ten boxes that fits; if none does, the largest in the middle that is not longer
    than the ratios allow.
    Source: Szegedy et al. 2015, arXiv:1409.4842, section 6; the ten attempts are torchvision's.

    Args:
        width: of the image, in pixels.
        height: of the image, in pixels.
        numbers: `NUM_NUMBERS` in [0, 1): area, ratio, top and left of each attempt.
    """
    low, high = map(log, RATIO)
    for first in range(0, NUM_NUMBERS, 4):
        for_area, for_ratio, for_top, for_left = numbers[first : first + 4]
        area = width * height * (AREA[0] + for_area * (AREA[1] - AREA[0]))
        ratio = exp(low + for_ratio * (high - low))
        box_width, box_height = round(sqrt(area * ratio)), round(sqrt(area / ratio))
        if 0 < box_width <= width and 0 < box_height <= height:
            left = int(for_left * (width - box_width + 1))
            top = int(for_top * (height - box_height + 1))
            return Box(left, top, box_width, box_height)
    box_width = min(width, round(height * RATIO[1]))
    box_height = min(height, round(width / RATIO[0]))
    return Box((width - box_width) // 2, (height - box_height) // 2, box_width, box_height)
