"""Similarity-preserving distillation: samples alike for the teacher are alike for the student."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import DistillBatch, Shapes
from distill_lab.losses.pairs import PairLoss
from distill_lab.losses.precision import full_precision, wide


@full_precision()
def sp(student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
    """Squared difference of the batch's similarity matrices.

    The matrix holds inner products of flattened features, its rows scaled to length 1.

    Source: Tung, Mori 2019, arXiv:1907.09682, section 3; RepDistiller's SP.

    Args:
        student_feature: (B, ...), any float dtype; computed in float32.
        teacher_feature: (B, ...), of any other axes; treated as a constant.

    Returns:
        Scalar without unit, mean over the B x B entries; 0 for a batch of one.

    Raises:
        ValueError: the batch sizes differ.
    """
    if len(student_feature) != len(teacher_feature):
        raise ValueError(
            f"sp: student feature is {tuple(student_feature.shape)}, teacher feature "
            f"{tuple(teacher_feature.shape)}; both must hold the same B samples."
        )
    return F.mse_loss(_similarity(student_feature), _similarity(teacher_feature.detach()))


def _similarity(feature: Tensor) -> Tensor:
    flat = wide(feature).flatten(1)
    products = flat @ flat.T
    length = torch.linalg.vector_norm(products, dim=1, keepdim=True)
    return products / length.where(length > 0, 1.0)  # a sample of zeros keeps a finite gradient


class SP(PairLoss):
    """`sp` as a term: sum over pairs, mean over teachers.

    "auto" is the last map before pooling, as published; the last layer where a network has no maps.
    """

    mixes_axes: ClassVar[bool] = True
    choice: ClassVar[Literal["all", "middle", "last"]] = "last"

    def __init__(self, weight: float, pairs: list[list[str]] | Literal["auto"]) -> None:
        super().__init__(weight, pairs)

    def choose(
        self,
        proposed: Sequence[tuple[str, str]],
        student_shapes: Shapes,
        teacher_shapes: tuple[Shapes, ...],
    ) -> None:
        """Take the last layers, maps if there are any; see `PairLoss.choose`."""
        student, *teachers = map(_maps, (student_shapes, *teacher_shapes))
        if student and all(teachers):
            student_shapes, teacher_shapes = student, tuple(teachers)
        super().choose(proposed, student_shapes, teacher_shapes)

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted difference of similarities."""
        teachers = range(len(batch.teachers))
        values = [sp(a, b) for teacher in teachers for a, b in self.features(batch, teacher)]
        return torch.stack(values).sum() / len(teachers)


def _maps(shapes: Shapes) -> Shapes:
    return {tap: shape for tap, shape in shapes.items() if len(shape) == 4}
