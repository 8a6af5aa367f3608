"""Distillation of activation boundaries: which neurons are on."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from distill_lab.contracts import DistillBatch, Shapes
from distill_lab.losses.pairs import PairLoss, same_size
from distill_lab.losses.precision import wide
from distill_lab.losses.regressor import to_width

SCALE = 3 / 1000


def ab(student_preactivation: Tensor, teacher_preactivation: Tensor, margin: float) -> Tensor:
    """Squared distance by which neurons miss the teacher's side of 0 by a margin.

    Where the teacher is above 0 the student has to reach the margin, elsewhere minus the margin.

    Source: Heo et al. 2019, arXiv:1811.03233, the alternative loss; sum, mean and the factor
    3/1000 are those of RepDistiller.

    Args:
        student_preactivation: (B, ...) before the activation, any float dtype; computed in
            float32.
        teacher_preactivation: of the same shape, treated as a constant; only its sign counts.
        margin: > 0, in units of the student's pre-activation.

    Returns:
        Scalar, times 3/1000, the sum over neurons and mean over B; zero iff every neuron is on the
        teacher's side by the margin, so not where student equals teacher.

    Raises:
        ValueError: the shapes differ, or the margin is not above 0.
    """
    if student_preactivation.shape != teacher_preactivation.shape:
        raise ValueError(
            f"ab: the student's pre-activation is {tuple(student_preactivation.shape)}, the "
            f"teacher's {tuple(teacher_preactivation.shape)}; both must be equal. Regress the "
            "student's to the teacher's width and pool maps to one size."
        )
    if not margin > 0:
        raise ValueError(f"ab: margin must be > 0, got {margin}.")
    student = wide(student_preactivation)
    on_side = torch.where(teacher_preactivation.detach() > 0, student, -student)
    return (margin - on_side).relu().square().sum() / len(student) * SCALE


class AB(PairLoss):
    """`ab` as a term; with several teachers, the mean over them.

    Of n pairs, shallow to deep, pair i counts 2^(i-n) with i = 1...n: the last one counts 1. The
    paper trains this term first and alone, then stops it: weighting.schedules={ab: {stop: 30}}.

    Args:
        weight: of the term, >= 0.
        pairs: see `PairLoss`; the taps are inputs of activations.
        margin: see `ab`.
    """

    zero_at_match: ClassVar[bool] = False
    suffix: ClassVar[str] = ":preactivation"

    def __init__(
        self, weight: float, pairs: list[list[str]] | Literal["auto"], margin: float
    ) -> None:
        super().__init__(weight, pairs)
        if not margin > 0:
            raise ValueError(f"margin: must be > 0, got {margin}.")
        self.margin = margin

    def connect(
        self, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...], num_samples: int
    ) -> None:
        """Make a regressor for each pair and teacher of different width."""
        self.check_shapes(student_shapes, teacher_shapes)
        self.regressors = self.per_pair(student_shapes, teacher_shapes, to_width)

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted distance from the teachers' activation boundaries."""
        values = []
        for number, regressors in enumerate(self.regressors):
            pairs = zip(regressors.children(), self.features(batch, number), strict=True)
            for depth, (regressor, pair) in enumerate(pairs, start=1):
                student, teacher = same_size(*pair) if pair[0].ndim == 4 else pair
                share = 2.0 ** (depth - len(self.pairs))
                values.append(share * ab(regressor(student), teacher, self.margin))
        return torch.stack(values).sum() / len(batch.teachers)
