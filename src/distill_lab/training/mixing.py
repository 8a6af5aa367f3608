"""Mixup and cutmix: every sample of a batch is mixed with another one, and so are their labels."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import Batch
from distill_lab.data.counter import Stream, bits


class Box(NamedTuple):
    """A part of an image, in pixels; ends are exclusive."""

    top: int
    bottom: int
    left: int
    right: int


def mixed(
    batch: Batch, mixup_alpha: float, cutmix_alpha: float, num_classes: int, seed: int
) -> Batch:
    """Mix a batch by mixup or by cutmix; with both, a fair coin decides for the whole batch.

    A pure function, so that a batch can be mixed again: what is drawn depends on the seed and on
    the batch's index and view alone.

    Args:
        batch: inputs (B, ...), targets (B,) class indices.
        mixup_alpha: of the Beta(alpha, alpha) distribution of the share; 0: no mixup.
        cutmix_alpha: the same for cutmix, which needs inputs (B, C, H, W).
        num_classes: K.
        seed: of the run.

    Returns:
        The batch with mixed inputs and targets (B, K), index and view unchanged; the batch as it is
        where both numbers are 0.

    Raises:
        ValueError: cutmix is asked for inputs that are not images.
    """
    if mixup_alpha == cutmix_alpha == 0:
        return batch
    if cutmix_alpha > 0 and batch.inputs.ndim != 4:
        raise ValueError(
            "regime.cutmix_alpha: must be 0 unless inputs are (C, H, W), "
            f"got inputs of shape {tuple(batch.inputs.shape[1:])}. "
            "Set regime.cutmix_alpha=0, or mix with regime.mixup_alpha."
        )
    generator = _generator(batch, seed)
    heads = float(torch.rand((), generator=generator)) < 0.5
    partner = _partners(batch, seed)
    if cutmix_alpha > 0 and (mixup_alpha == 0 or heads):
        height, width = batch.inputs.shape[2:]
        box = random_box(beta(cutmix_alpha, generator), height, width, generator)
        return cutmix(batch, box, partner, num_classes)
    return mixup(batch, beta(mixup_alpha, generator), partner, num_classes)


def mixup(batch: Batch, share: float, partner: Tensor, num_classes: int) -> Batch:
    """Add up each sample and its partner, `share` of the one and the rest of the other.

    Source: Zhang et al. 2018, arXiv:1710.09412.

    Args:
        batch: inputs (B, ...), targets (B,) class indices.
        share: in [0, 1].
        partner: (B,) place in the batch of each sample's partner.
        num_classes: K.
    """
    inputs = share * batch.inputs + (1 - share) * batch.inputs[partner]
    return batch._replace(inputs=inputs, targets=_labels(batch, share, partner, num_classes))


def cutmix(batch: Batch, box: Box, partner: Tensor, num_classes: int) -> Batch:
    """Paste the partner's pixels into a box; labels count by the area that is left and pasted.

    Source: Yun et al. 2019, arXiv:1905.04899.

    Args:
        batch: inputs (B, C, H, W), targets (B,) class indices.
        box: the same for all samples.
        partner: (B,) place in the batch of each sample's partner.
        num_classes: K.
    """
    top, bottom, left, right = box
    inputs = batch.inputs.clone()
    inputs[:, :, top:bottom, left:right] = batch.inputs[partner, :, top:bottom, left:right]
    height, width = inputs.shape[2:]
    share = 1 - (bottom - top) * (right - left) / (height * width)
    return batch._replace(inputs=inputs, targets=_labels(batch, share, partner, num_classes))


def beta(alpha: float, generator: torch.Generator) -> float:
    """Draw from Beta(alpha, alpha), alpha > 0."""
    # float64, because for a small alpha both numbers would often underflow in float32.
    concentrations = torch.full((2,), alpha, dtype=torch.float64)
    gammas = torch._standard_gamma(concentrations, generator=generator)
    return float(gammas[0] / gammas.sum())


def random_box(share: float, height: int, width: int, generator: torch.Generator) -> Box:
    """Draw the box that leaves `share` of the image, as in the authors' code.

    Its sides are those of the image times sqrt(1 - share), rounded to whole pixels on either side
    of a centre that is uniform over the image; what reaches over the border is cut off.
    """
    scale = (1 - share) ** 0.5
    ends = []
    for length in (height, width):
        centre = int(torch.randint(length, (), generator=generator))
        half = int(length * scale) // 2
        ends += [max(centre - half, 0), min(centre + half, length)]
    return Box(*ends)


def _generator(batch: Batch, seed: int) -> torch.Generator:
    """Seed by the batch's first sample: a pass has it only once."""
    (number,) = bits(seed, batch.index[:1], batch.view[:1], Stream.MIX_BATCH).tolist()
    return torch.Generator().manual_seed(number)


def _partners(batch: Batch, seed: int) -> Tensor:
    order = bits(seed, batch.index, batch.view, Stream.MIX_PARTNER).argsort(stable=True)
    return order.to(batch.inputs.device, non_blocking=True)


def _labels(batch: Batch, share: float, partner: Tensor, num_classes: int) -> Tensor:
    labels = F.one_hot(batch.targets, num_classes).to(batch.inputs.dtype)
    return share * labels + (1 - share) * labels[partner]
