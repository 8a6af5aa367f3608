"""Hidden states of transformer layers, matched token by token."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import DistillBatch, Shapes
from distill_lab.losses.checks import require_equal_lengths
from distill_lab.losses.pairs import PairLoss
from distill_lab.losses.precision import wide
from distill_lab.losses.regressor import to_width


def hidden_mse(student_hidden: Tensor, teacher_hidden: Tensor) -> Tensor:
    """Mean squared difference of hidden states.

    Source: Jiao et al. 2020 (TinyBERT), arXiv:1909.10351, section 3, hidden states based
    distillation.

    Args:
        student_hidden: (B, L, D), already projected to the teacher's width.
        teacher_hidden: (B, L, D), treated as a constant.

    Returns:
        Scalar, mean over B, L and D; zero iff the hidden states agree.

    Raises:
        ValueError: the shapes differ.
    """
    if student_hidden.shape != teacher_hidden.shape:
        raise ValueError(
            f"hidden_mse: student hidden states are {tuple(student_hidden.shape)}, the teacher's "
            f"{tuple(teacher_hidden.shape)}; both must be (B, L, D). Project the student's to the "
            "teacher's width."
        )
    return F.mse_loss(wide(student_hidden), wide(teacher_hidden.detach()))


class HiddenMSE(PairLoss):
    """`hidden_mse` as a term, summed over pairs of layers; with several teachers, the mean of them.

    Where the widths differ, a linear layer that learns with the student projects its hidden states.
    TinyBERT shares one such layer among all pairs and has it where the widths agree, too; here each
    pair has its own.
    """

    aligns_tokens: ClassVar[bool] = True

    axes: ClassVar[tuple[int, ...]] = (3,)

    def __init__(self, weight: float, pairs: list[list[str]] | Literal["auto"]) -> None:
        super().__init__(weight, pairs)

    def connect(
        self, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...], num_samples: int
    ) -> None:
        """Make a projection for each pair and teacher."""
        self.check_shapes(student_shapes, teacher_shapes)
        require_equal_lengths(self.pairs, student_shapes, teacher_shapes)
        self.projections = self.per_pair(student_shapes, teacher_shapes, to_width)

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted distance from the teacher(s)."""
        values = []
        for number, projections in enumerate(self.projections):
            pairs = zip(projections.children(), self.features(batch, number), strict=True)
            values += [
                hidden_mse(project(student), teacher) for project, (student, teacher) in pairs
            ]
        return torch.stack(values).sum() / len(batch.teachers)
