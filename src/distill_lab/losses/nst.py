"""Neuron selectivity transfer: what the channels of a layer respond to, as a distribution."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import DistillBatch
from distill_lab.losses.checks import require_maps
from distill_lab.losses.pairs import PairLoss, same_size
from distill_lab.losses.precision import full_precision


@full_precision()
def nst(student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
    """Squared maximum mean discrepancy between the channels of two layers.

    A channel is a point: its map, divided by its length. The kernel of two points is their inner
    product squared, so widths need not agree.

    Source: Huang and Wang 2017, arXiv:1707.01219, with the polynomial kernel (d = 2, c = 0); mean
    over B as in RepDistiller and mdistiller.

    Args:
        student_feature: (B, C, H, W), any float dtype; computed in float32.
        teacher_feature: (B, C', H', W'), treated as a constant; the larger of the two is
            average-pooled to the smaller.

    Returns:
        Scalar, mean over B; zero if the channels agree, in whatever order.

    Raises:
        ValueError: a feature is not a map, or the batches differ.
    """
    require_maps("nst", student_feature, teacher_feature, equal_widths=False)
    student, teacher = same_size(student_feature, teacher_feature.detach())
    points = torch.cat([_unit_channels(student), _unit_channels(teacher)], dim=1)
    own, other = student.shape[1], teacher.shape[1]
    signs = points.new_tensor([1 / own] * own + [-1 / other] * other)
    return _discrepancy(points, signs)


def _unit_channels(maps: Tensor) -> Tensor:
    return F.normalize(maps.flatten(2), dim=2)  # (B, C, H * W)


def _discrepancy(points: Tensor, signs: Tensor) -> Tensor:
    """Return sum_ij signs_i signs_j (points_i . points_j)^2, mean over B.

    That is the squared Frobenius norm of sum_i signs_i points_i points_i^T; the smaller of the two
    matrices is built.
    """
    if points.shape[2] < points.shape[1]:
        moments = (points * signs[:, None]).transpose(1, 2) @ points
        return moments.square().sum(dim=(1, 2)).mean()
    kernel = (points @ points.transpose(1, 2)).square()
    return (kernel @ signs @ signs).mean()


class NST(PairLoss):
    """`nst` summed over pairs of layers; with several teachers, the mean over them."""

    axes: ClassVar[tuple[int, ...]] = (4,)

    def __init__(self, weight: float, pairs: list[list[str]] | Literal["auto"]) -> None:
        super().__init__(weight, pairs)

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted discrepancy from the teacher(s)."""
        values = [
            nst(student, teacher)
            for number in range(len(batch.teachers))
            for student, teacher in self.features(batch, number)
        ]
        return torch.stack(values).sum() / len(batch.teachers)
