"""Inputs made worse in a way that leaves their class as it is, at five severities.

The idea, the five severities, noise and contrast are those of ImageNet-C (Hendrycks and Dietterich
2019, arXiv:1903.12261, and the authors' code). Blur and shift are our own, by shares of the side of
an image, so that they mean the same at 8 and at 224 pixels; so are the corruptions of what are no
images. All are pure functions: the same seed makes the same inputs.
"""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor
from torch.nn import functional as F

SEVERITIES = (1, 2, 3, 4, 5)
NOISE_STD = (0.08, 0.12, 0.18, 0.26, 0.38)
"""Of the normal noise, black being 0 and white 1; ImageNet-C."""
CONTRAST_LEFT = (0.4, 0.3, 0.2, 0.1, 0.05)
"""Share of the distance from the mean of its image that a pixel keeps; ImageNet-C."""
BLUR_SHARE = (0.01, 0.02, 0.03, 0.05, 0.08)
"""Standard deviation of the blur's kernel, of the longer side; ours."""
BLUR_PIXELS = (0.4, 0.5, 0.65, 0.8, 1.0)
"""At least, in pixels: a narrower kernel leaves small images as they are; ours."""
SHIFT_SHARE = (0.05, 0.1, 0.15, 0.2, 0.25)
"""Of a side, rounded up to whole pixels; ours."""
FEATURE_NOISE = (0.25, 0.5, 0.75, 1.0, 1.5)
"""Standard deviation of the noise, of that of the inputs; ours."""
HIDDEN_SHARE = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Of the words or items of each row; ours."""
REACH = 3.0  # standard deviations after which the kernel of the blur is cut off


def noise(images: Tensor, severity: int, seed: int) -> Tensor:
    """Add normal noise to each number of each image.

    Args:
        images: (B, C, H, W) in [0, 1].
        severity: 1 to 5.
        seed: decides the noise.

    Returns:
        As `images`, in [0, 1].
    """
    drawn = _normal(images, seed)
    return (images + NOISE_STD[severity - 1] * drawn).clamp(0, 1)


def blur(images: Tensor, severity: int, seed: int) -> Tensor:
    """Convolve with a normal kernel, images being mirrored at their edges; arguments as `noise`.

    The seed plays no part.
    """
    height, width = images.shape[-2:]
    sigma = max(BLUR_SHARE[severity - 1] * max(height, width), BLUR_PIXELS[severity - 1])
    flat = images.reshape(-1, 1, height, width)
    flat = F.conv2d(*_padded(flat, sigma, dim=-2))
    flat = F.conv2d(*_padded(flat, sigma, dim=-1))
    return flat.view_as(images).clamp(0, 1)


def contrast(images: Tensor, severity: int, seed: int) -> Tensor:
    """Move each number towards the mean of its image and channel; arguments as `noise`.

    The seed plays no part.
    """
    mean = images.mean((-2, -1), keepdim=True)
    return mean + CONTRAST_LEFT[severity - 1] * (images - mean)


def shift(images: Tensor, severity: int, seed: int) -> Tensor:
    """Move each image up, down, left or right, each as likely; arguments as `noise`.

    What moves in is 0.
    """
    height, width = images.shape[-2:]
    down, right = (ceil(SHIFT_SHARE[severity - 1] * side) for side in (height, width))
    padded = F.pad(images, (right, right, down, down))
    where = torch.randint(4, (len(images),), generator=_generator(seed))
    starts = ((0, right), (2 * down, right), (down, 0), (down, 2 * right))
    moved = torch.empty_like(images)
    for number, (top, left) in enumerate(starts):
        chosen = where == number
        moved[chosen] = padded[chosen, :, top : top + height, left : left + width]
    return moved


def feature_noise(inputs: Tensor, severity: int, seed: int) -> Tensor:
    """Add normal noise in units of the inputs' own deviation, for what are no pixels in [0, 1].

    Args:
        inputs: (B, ...) float.
        severity: 1 to 5.
        seed: decides the noise.
    """
    return inputs + FEATURE_NOISE[severity - 1] * inputs.std() * _normal(inputs, seed)


def without_items(rows: Tensor, severity: int, seed: int) -> Tensor:
    """Take items out of the past of each row, the others moving together; the latest one stays.

    Args:
        rows: (B, L) int64, items from 1 on, the latest last, then 0.
        severity: 1 to 5.
        seed: decides which items.
    """
    drawn = torch.rand(rows.shape, generator=_generator(seed))
    count = (rows > 0).sum(1, keepdim=True)
    latest = torch.arange(rows.shape[1]) == count - 1
    kept = (rows > 0) & ((drawn >= HIDDEN_SHARE[severity - 1]) | latest)
    order = (~kept).to(torch.uint8).argsort(dim=1, stable=True)
    return (rows * kept).gather(1, order)


IMAGES = {"noise": noise, "blur": blur, "contrast": contrast, "shift": shift}
"""Name -> corruption of images."""


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _normal(like: Tensor, seed: int) -> Tensor:
    return torch.randn(like.shape, generator=_generator(seed)).to(like.dtype)


def _padded(images: Tensor, sigma: float, dim: int) -> tuple[Tensor, Tensor]:
    """Return images (B, 1, H, W), mirrored along an axis, and the kernel along that axis."""
    radius = min(int(REACH * sigma + 0.5), images.shape[dim] - 1)
    place = torch.arange(-radius, radius + 1, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (place / sigma).square())
    kernel = (kernel / kernel.sum()).view((1, 1, -1, 1) if dim == -2 else (1, 1, 1, -1))
    ends = (0, 0, radius, radius) if dim == -2 else (radius, radius, 0, 0)
    return F.pad(images, ends, mode="reflect"), kernel
