"""Patient distillation: the class token in several layers."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import DistillBatch, Shapes
from distill_lab.losses.pairs import PairLoss
from distill_lab.losses.regressor import to_width
from distill_lab.losses.unit import unit_vectors


def pkd(student_token: Tensor, teacher_token: Tensor) -> Tensor:
    """Mean squared difference of vectors of unit length.

    Source: Sun et al. 2019 (Patient KD), arXiv:1908.09355, section 3.2. The paper sums over the
    entries of a vector; the published code averages over them, and so does this, as the published
    weights belong to it.

    Args:
        student_token: (B, D), the first token, already projected to the teacher's width.
        teacher_token: (B, D), treated as a constant.

    Returns:
        Scalar in [0, 4 / D], mean over B and D; zero iff all vectors point the same way.

    Raises:
        ValueError: the shapes differ.
    """
    if student_token.shape != teacher_token.shape:
        raise ValueError(
            f"pkd: student tokens are {tuple(student_token.shape)}, the teacher's "
            f"{tuple(teacher_token.shape)}; both must be (B, D). Project the student's to the "
            "teacher's width."
        )
    return F.mse_loss(unit_vectors(student_token), unit_vectors(teacher_token.detach()))


class PKD(PairLoss):
    """`pkd` of the first tokens, the mean over pairs of layers as in the published code.

    With several teachers, the mean over them. Sequences may differ in length. Where the widths
    differ, a linear layer that learns with the student projects its tokens; the paper's networks
    are equally wide.
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
        self.projections = self.per_pair(
            student_shapes, teacher_shapes, lambda a, b: to_width(_first(a), _first(b))
        )

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted distance from the teacher(s)."""
        values = []
        for number, projections in enumerate(self.projections):
            pairs = zip(projections.children(), self.features(batch, number), strict=True)
            values += [
                pkd(project(student[:, 0]), teacher[:, 0]) for project, (student, teacher) in pairs
            ]
        return torch.stack(values).mean()


def _first(tokens: tuple[int, ...]) -> tuple[int, ...]:
    """Shape (B, D) of the first of tokens (B, L, D)."""
    return tokens[0], tokens[2]
