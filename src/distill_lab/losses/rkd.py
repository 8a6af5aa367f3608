"""Relational distillation: distances and angles between the samples of a batch."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import DistillBatch
from distill_lab.losses.pairs import PairLoss, pooled
from distill_lab.losses.precision import full_precision, wide


@full_precision()
def rkd(
    student_embedding: Tensor,
    teacher_embedding: Tensor,
    distance_weight: float,
    angle_weight: float,
) -> Tensor:
    """Huber loss between relative distances, and between cosines of angles, of samples.

    A distance is relative to the mean of those that are not 0; an angle is the one at a sample
    between the directions to two others. Equal samples have distance 0 and no direction.

    Source: Park, Kim, Lu, Cho 2019, arXiv:1904.05068, section 3.2; RepDistiller's RKD, whose
    means run over all B^2 distances and B^3 angles, degenerate ones included. Distances are those
    of differences, not of a matrix product, which loses small ones.

    Memory: 4 B^3 bytes for each matrix of angles, of which the step holds about four (67 MB each
    at B = 256), and 4 B^2 D bytes for differences.

    Args:
        student_embedding: (B, D), any float dtype; computed in float32.
        teacher_embedding: (B, D'), treated as a constant.
        distance_weight: of the distances, >= 0.
        angle_weight: of the angles, >= 0.

    Returns:
        Scalar without unit; 0 for a batch of one.

    Raises:
        ValueError: an embedding has other axes, or the batch sizes differ.
    """
    axes = student_embedding.ndim, teacher_embedding.ndim
    if axes != (2, 2) or len(student_embedding) != len(teacher_embedding):
        raise ValueError(
            f"rkd: student embedding is {tuple(student_embedding.shape)}, teacher embedding "
            f"{tuple(teacher_embedding.shape)}; both must be (B, D) of the same B samples. "
            "Pool maps and tokens first."
        )
    distances, angles = _relations(wide(student_embedding))
    true_distances, true_angles = _relations(wide(teacher_embedding.detach()))
    distance = F.smooth_l1_loss(distances, true_distances)
    return distance_weight * distance + angle_weight * F.smooth_l1_loss(angles, true_angles)


def _relations(embedding: Tensor) -> tuple[Tensor, Tensor]:
    difference = embedding[None] - embedding[:, None]  # (B, B, D)
    distance = torch.linalg.vector_norm(difference, dim=2)
    direction = difference / _or_one(distance).unsqueeze(2)
    mean = distance.sum() / (distance > 0).sum().clamp(min=1)
    return distance / _or_one(mean), direction @ direction.mT  # (B, B), (B, B, B)


def _or_one(length: Tensor) -> Tensor:
    """Return lengths to divide by: those of 0 become 1, so that gradients stay finite."""
    return length.where(length > 0, 1.0)


class RKD(PairLoss):
    """`rkd` of pooled features as a term: sum over pairs, mean over teachers.

    Args:
        weight: of the term, >= 0.
        pairs: see `PairLoss`.
        distance_weight: of the distances within the term, >= 0.
        angle_weight: of the angles within the term, >= 0.
    """

    mixes_axes: ClassVar[bool] = True
    choice: ClassVar[Literal["all", "middle", "last"]] = "last"

    def __init__(
        self,
        weight: float,
        pairs: list[list[str]] | Literal["auto"],
        distance_weight: float,
        angle_weight: float,
    ) -> None:
        super().__init__(weight, pairs)
        if not distance_weight >= 0:
            raise ValueError(f"distance_weight: must be >= 0, got {distance_weight}.")
        if not angle_weight >= 0:
            raise ValueError(f"angle_weight: must be >= 0, got {angle_weight}.")
        self.distance_weight = distance_weight
        self.angle_weight = angle_weight

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted difference of relations."""
        teachers = range(len(batch.teachers))
        values = [
            rkd(pooled(student), pooled(teacher), self.distance_weight, self.angle_weight)
            for number in teachers
            for student, teacher in self.features(batch, number)
        ]
        return torch.stack(values).sum() / len(teachers)
