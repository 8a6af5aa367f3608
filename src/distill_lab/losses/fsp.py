"""Flow of the solution procedure: how one layer's channels go with the next layer's."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_lab.contracts import DistillBatch, Shapes
from distill_lab.losses.checks import require_maps
from distill_lab.losses.pairs import PairLoss, same_size
from distill_lab.losses.precision import full_precision
from distill_lab.losses.regressor import to_width


@full_precision()
def fsp(
    student_early: Tensor, student_late: Tensor, teacher_early: Tensor, teacher_late: Tensor
) -> Tensor:
    """Mean squared difference of two flow matrices.

    A flow matrix holds, for each channel of a later layer and each of an earlier one, the mean
    over positions of their product; the larger map is average-pooled to the smaller first.

    Source: Yim et al. 2017, CVPR, equations 1 and 2; average pooling and the mean over all elements
    as in RepDistiller.

    Args:
        student_early: (B, C, H, W), any float dtype; computed in float32.
        student_late: (B, D, H', W').
        teacher_early: (B, C, H'', W''), treated as a constant.
        teacher_late: (B, D, H''', W'''), treated as a constant.

    Returns:
        Scalar, mean over all elements; zero iff the flow matrices agree.

    Raises:
        ValueError: a layer gives no maps, or batches or widths differ.
    """
    for student, teacher in ((student_early, teacher_early), (student_late, teacher_late)):
        require_maps("fsp", student, teacher, equal_widths=True)
    student = _flow(student_early, student_late)
    teacher = _flow(teacher_early.detach(), teacher_late.detach())
    return F.mse_loss(student, teacher)


def _flow(early: Tensor, late: Tensor) -> Tensor:
    early, late = same_size(early, late)
    positions = early.shape[2] * early.shape[3]
    return late.flatten(2) @ early.flatten(2).transpose(1, 2) / positions  # (B, D, C)


class FSP(PairLoss):
    """`fsp` of each pair and the next, summed; with several teachers, the mean over them.

    The paper needs equal widths. Where a student's layer has another width than the teacher's, a
    1x1 convolution, trained with the student, gives it that width; equal layers have none.
    """

    axes: ClassVar[tuple[int, ...]] = (4,)
    fewest: ClassVar[int] = 2

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
        values = []
        for number, regressors in enumerate(self.regressors):
            layers = [
                (regressor(student), teacher)
                for regressor, (student, teacher) in zip(
                    regressors.children(), self.features(batch, number), strict=True
                )
            ]
            values += [
                fsp(student_early, student_late, teacher_early, teacher_late)
                for (student_early, teacher_early), (student_late, teacher_late) in pairwise(layers)
            ]
        return torch.stack(values).sum() / len(self.regressors)
