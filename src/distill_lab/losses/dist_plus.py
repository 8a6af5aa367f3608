"""DIST with relations of features beside those of outputs."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from distill_lab.contracts import DistillBatch, Shapes
from distill_lab.losses.dist import dist, pearson_distance
from distill_lab.losses.pairs import PairLoss, same_size
from distill_lab.losses.regressor import to_width


def dist_plus(
    student_feature: Tensor,
    teacher_feature: Tensor,
    channel_weight: float,
    spatial_weight: float,
) -> Tensor:
    """Pearson distance of feature maps: between channels, and between samples at a position.

    The first compares the C values at each position of each sample; the second compares, at each
    position, the B sums over channels. The term adds `dist` of the logits.

    Source: Huang et al. 2025, "DIST+", TPAMI; torchdistill 1.1.5. That code adds the correlation
    between channels where it should add 1 minus it, and so drives the features apart; here both
    parts are 0 at match.

    Args:
        student_feature: (B, C, H, W), any float dtype; computed in float32. The larger of two maps
            is average-pooled to the smaller.
        teacher_feature: (B, C, H, W), treated as a constant.
        channel_weight: >= 0, of the relation between channels (iota in torchdistill).
        spatial_weight: >= 0, of the relation between samples (kappa in torchdistill).

    Returns:
        Scalar without unit, mean over B and positions; zero when the features agree.

    Raises:
        ValueError: the features are no maps with as many channels.
    """
    axes = {student_feature.ndim, teacher_feature.ndim}
    if axes != {4} or student_feature.shape[:2] != teacher_feature.shape[:2]:
        raise ValueError(
            f"dist_plus: student feature is {tuple(student_feature.shape)}, teacher feature "
            f"{tuple(teacher_feature.shape)}; both must be (B, C, H, W) with equal C. Put a "
            "regressor before the student's."
        )
    student, teacher = same_size(student_feature, teacher_feature.detach())
    channel = pearson_distance(student, teacher, dim=1).mean()
    spatial = pearson_distance(student.sum(dim=1), teacher.sum(dim=1), dim=0).mean()
    return channel_weight * channel + spatial_weight * spatial


class DISTPlus(PairLoss):
    """`dist` of the logits plus the mean of `dist_plus` over pairs; the mean over teachers.

    A regressor gives the student's feature the teacher's width where they differ; equal widths are
    compared as they are.
    """

    axes = (4,)
    choice = "last"

    def __init__(
        self,
        weight: float,
        pairs: list[list[str]] | Literal["auto"],
        inter_weight: float,
        intra_weight: float,
        channel_weight: float,
        spatial_weight: float,
    ) -> None:
        super().__init__(weight, pairs)
        if not inter_weight >= 0:
            raise ValueError(f"inter_weight: must be >= 0, got {inter_weight}.")
        if not intra_weight >= 0:
            raise ValueError(f"intra_weight: must be >= 0, got {intra_weight}.")
        if not channel_weight >= 0:
            raise ValueError(f"channel_weight: must be >= 0, got {channel_weight}.")
        if not spatial_weight >= 0:
            raise ValueError(f"spatial_weight: must be >= 0, got {spatial_weight}.")
        self.of_logits = (inter_weight, intra_weight)
        self.of_features = (channel_weight, spatial_weight)

    def connect(
        self, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...], num_samples: int
    ) -> None:
        """Build a regressor for each pair of unequal width."""
        self.check_shapes(student_shapes, teacher_shapes)
        self.regressors = self.per_pair(student_shapes, teacher_shapes, to_width)

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted distance from the teacher(s)."""
        return torch.stack([self._from(n, batch) for n in range(len(batch.teachers))]).mean()

    def _from(self, number: int, batch: DistillBatch) -> Tensor:
        teacher = batch.teachers[number].logits
        logits = dist(batch.student.logits, teacher, batch.temperature, *self.of_logits)
        pairs = zip(self.regressors[number].children(), self.features(batch, number), strict=True)
        parts = [dist_plus(fit(student), one, *self.of_features) for fit, (student, one) in pairs]
        return logits + torch.stack(parts).mean()
