"""Attention transfer: where a layer is active."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import DistillBatch
from distill_lab.losses.checks import require_maps
from distill_lab.losses.pairs import PairLoss, same_size


def at(student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
    """Mean squared difference of two normalised attention maps.

    An attention map is the mean over channels of the squared activation, divided by its length
    over positions.

    Source: Zagoruyko and Komodakis 2017, arXiv:1612.03928, section 3.1, with p = 2, reduced as in
    their code, RepDistiller and mdistiller: squared difference, mean over B and positions. The
    paper's equation 2 takes the unsquared length.

    Args:
        student_feature: (B, C, H, W), any float dtype; computed in float32.
        teacher_feature: (B, C', H', W'), treated as a constant; the larger of the two is
            average-pooled to the smaller.

    Returns:
        Scalar; zero iff the attention maps agree. A map of zeros has no attention anywhere.

    Raises:
        ValueError: a feature is not a map, or the batches differ.
    """
    require_maps("at", student_feature, teacher_feature, equal_widths=False)
    student, teacher = same_size(student_feature, teacher_feature.detach())
    return F.mse_loss(_attention(student), _attention(teacher))


def _attention(maps: Tensor) -> Tensor:
    return F.normalize(maps.square().mean(dim=1).flatten(1), dim=1)  # (B, H * W)


class AT(PairLoss):
    """`at` summed over pairs of layers; with several teachers, the mean over them."""

    axes: ClassVar[tuple[int, ...]] = (4,)

    def __init__(self, weight: float, pairs: list[list[str]] | Literal["auto"]) -> None:
        super().__init__(weight, pairs)

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted distance from the teacher(s)."""
        values = [
            at(student, teacher)
            for number in range(len(batch.teachers))
            for student, teacher in self.features(batch, number)
        ]
        return torch.stack(values).sum() / len(batch.teachers)
