"""Directions of hidden vectors."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from distill_lab.contracts import DistillBatch, Shapes
from distill_lab.losses.checks import require_equal_lengths
from distill_lab.losses.pairs import PairLoss
from distill_lab.losses.regressor import to_width
from distill_lab.losses.unit import unit_vectors


def cosine(student_hidden: Tensor, teacher_hidden: Tensor) -> Tensor:
    """One minus the cosine of hidden vectors.

    Source: Sanh et al. 2019 (DistilBERT), arXiv:1910.01108, section 2.

    Args:
        student_hidden: (B, L, D) or (B, D), already projected to the teacher's width.
        teacher_hidden: the same shape, treated as a constant.

    Returns:
        Scalar in [0, 2], mean over B and L; zero iff all vectors point the same way. A vector of
        zeros has cosine 0 with any other.

    Raises:
        ValueError: the shapes differ.
    """
    if student_hidden.shape != teacher_hidden.shape:
        raise ValueError(
            f"cosine: student hidden vectors are {tuple(student_hidden.shape)}, the teacher's "
            f"{tuple(teacher_hidden.shape)}; both must be (B, L, D) or (B, D). Project the "
            "student's to the teacher's width."
        )
    products = unit_vectors(student_hidden) * unit_vectors(teacher_hidden.detach())
    return (1 - products.sum(dim=-1)).mean()


class Cosine(PairLoss):
    """`cosine` as a term, summed over pairs of layers; with several teachers, the mean over them.

    DistilBERT compares the last layers of equally wide networks. Where the widths differ, a linear
    layer that learns with the student projects its vectors.
    """

    aligns_tokens: ClassVar[bool] = True

    axes: ClassVar[tuple[int, ...]] = (2, 3)
    choice: ClassVar[Literal["all", "middle", "last"]] = "last"

    def __init__(self, weight: float, pairs: list[list[str]] | Literal["auto"]) -> None:
        super().__init__(weight, pairs)

    def connect(
        self, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...], num_samples: int
    ) -> None:
        """Make a projection for each pair and teacher."""
        self.check_shapes(student_shapes, teacher_shapes)
        tokens = [(a, b) for a, b in self.pairs if len(student_shapes[a]) == 3]
        require_equal_lengths(tokens, student_shapes, teacher_shapes)
        self.projections = self.per_pair(student_shapes, teacher_shapes, to_width)

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted distance from the teacher(s)."""
        values = []
        for number, projections in enumerate(self.projections):
            pairs = zip(projections.children(), self.features(batch, number), strict=True)
            values += [cosine(project(student), teacher) for project, (student, teacher) in pairs]
        return torch.stack(values).sum() / len(batch.teachers)
