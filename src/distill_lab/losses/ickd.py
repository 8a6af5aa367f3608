"""Inter-channel correlation: which channels of a layer are active together."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_lab.contracts import DistillBatch, Shapes
from distill_lab.losses.checks import require_maps
from distill_lab.losses.pairs import PairLoss
from distill_lab.losses.precision import full_precision, wide
from distill_lab.losses.regressor import to_width


@full_precision()
def ickd(student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
    """Squared difference of the normalised channel-by-channel products of two layers.

    Source: Liu et al. 2021, ICCV, reduced as in the authors' code (ADLab-AutoDrive):
    products summed over positions, each row divided by its length, squared differences summed and
    divided by (C * B * B). So the value falls as 1 / B, unlike a mean over the batch.

    Args:
        student_feature: (B, C, H, W), any float dtype; computed in float32.
        teacher_feature: (B, C, H', W'), treated as a constant; its size may be another.

    Returns:
        Scalar; zero iff the normalised products agree. A channel of zeros has a row of zeros that
        passes no gradient on, where the published code divides it by 1e-12.

    Raises:
        ValueError: a feature is not a map, or batches or widths differ.
    """
    require_maps("ickd", student_feature, teacher_feature, equal_widths=True)
    difference = _correlation(student_feature) - _correlation(teacher_feature.detach())
    num, channels = student_feature.shape[:2]
    return difference.square().sum() / (channels * num**2)


def _correlation(maps: Tensor) -> Tensor:
    flat = wide(maps).flatten(2)
    products = flat @ flat.transpose(1, 2)  # (B, C, C)
    active = flat.detach().any(dim=2, keepdim=True)
    return F.normalize(torch.where(active, products, 0.0), dim=2)


class ICKD(PairLoss):
    """`ickd` summed over pairs of layers; with several teachers, the mean over them.

    Where a student's layer has another width than the teacher's, a 1x1 convolution, trained with
    the student, gives it that width; equal layers have none. Auto takes the last pair.
    """

    axes: ClassVar[tuple[int, ...]] = (4,)
    choice: ClassVar[Literal["all", "middle", "last"]] = "last"

    def __init__(self, weight: float, pairs: list[list[str]] | Literal["auto"]) -> None:
        super().__init__(weight, pairs)
        self.regressors = nn.ModuleList()

    def connect(
        self, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...], num_samples: int
    ) -> None:
        """Build a regressor for each layer of another width than the teacher's."""
        super().connect(student_shapes, teacher_shapes, num_samples)
        self.regressors = self.per_pair(student_shapes, teacher_shapes, to_width)

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted distance from the teacher(s)."""
        values = [
            ickd(regressor(student), teacher)
            for number, regressors in enumerate(self.regressors)
            for regressor, (student, teacher) in zip(
                regressors.children(), self.features(batch, number), strict=True
            )
        ]
        return torch.stack(values).sum() / len(self.regressors)
