"""Overhaul of feature distillation: what the teacher's neurons say before their activation."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from distill_lab.contracts import DistillBatch, Shapes
from distill_lab.losses.batch_norm import BatchNorm
from distill_lab.losses.pairs import PairLoss, same_size
from distill_lab.losses.precision import wide
from distill_lab.losses.regressor import Regressor

SCALE = 1 / 1000


def ofd(student_preactivation: Tensor, teacher_preactivation: Tensor, margin: Tensor) -> Tensor:
    """Partial squared distance from the teacher's margin ReLU.

    The teacher's response is cut off below the margin. Where it is not above 0, a student that is
    lower still is right already and counts nothing.

    Source: Heo et al. 2019, arXiv:1904.01866, section 3; sum, mean and the factor 1/1000 are
    those of the authors' code (clovaai/overhaul-distillation).

    Args:
        student_preactivation: (B, C, H, W) or (B, C), any float dtype; computed in float32.
        teacher_preactivation: of the same shape, treated as a constant.
        margin: <= 0, (C,) or what broadcasts against the feature.

    Returns:
        Scalar, times 1/1000, the sum over C, H and W and mean over B; zero where student equals
        teacher.

    Raises:
        ValueError: the shapes differ.
    """
    if student_preactivation.shape != teacher_preactivation.shape:
        raise ValueError(
            f"ofd: the student's pre-activation is {tuple(student_preactivation.shape)}, the "
            f"teacher's {tuple(teacher_preactivation.shape)}; both must be equal. Connect the "
            "student's to the teacher's width and pool maps to one size."
        )
    student, teacher = wide(student_preactivation), wide(teacher_preactivation.detach())
    if margin.ndim == 1 and teacher.ndim == 4:
        margin = margin[:, None, None]
    target = torch.maximum(teacher, margin.detach().to(teacher.dtype))
    counts = (student > target) | (target > 0)
    return ((student - target) * counts).square().sum() / len(student) * SCALE


class OFD(PairLoss):
    """`ofd` as a term; with several teachers, the mean over them.

    Of n pairs, shallow to deep, pair i counts 2^(i-n) with i = 1...n: the last one counts 1. A 1x1
    connector with batch normalisation gives the student the teacher's width. The margin of a
    channel is the mean of the teacher's negative responses in training so far, this batch
    included. The authors' code computes its expectation from the teacher's batch normalisation,
    which a teacher need not have.

    Args:
        weight: of the term, >= 0.
        pairs: see `PairLoss`; the taps are inputs of activations.
    """

    zero_at_match: ClassVar[bool] = False
    axes: ClassVar[tuple[int, ...]] = (2, 4)
    suffix: ClassVar[str] = ":preactivation"

    def __init__(self, weight: float, pairs: list[list[str]] | Literal["auto"]) -> None:
        super().__init__(weight, pairs)

    def connect(
        self, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...], num_samples: int
    ) -> None:
        """Make a connector and a margin for each pair and teacher."""
        self.check_shapes(student_shapes, teacher_shapes)
        self.connectors = self.per_pair(student_shapes, teacher_shapes, _Connector)

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted partial distance from the teachers' pre-activations."""
        values = []
        for number, connectors in enumerate(self.connectors):
            pairs = zip(connectors.children(), self.features(batch, number), strict=True)
            for depth, (connector, pair) in enumerate(pairs, start=1):
                student, teacher = same_size(*pair) if pair[0].ndim == 4 else pair
                share = 2.0 ** (depth - len(self.pairs))
                connected, margin = connector(student, pair[1])
                values.append(share * ofd(connected, teacher, margin))
        return torch.stack(values).sum() / len(batch.teachers)


class _Connector(nn.Module):
    """The way from a student's layer to one of a teacher, and what is known of the latter."""

    margin: Tensor
    seen: Tensor

    def __init__(self, student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
        super().__init__()
        self.layer = nn.Sequential(Regressor(student, teacher), BatchNorm(teacher[1]))
        self.register_buffer("margin", torch.zeros(teacher[1]))
        self.register_buffer("seen", torch.zeros(teacher[1], dtype=torch.long))

    def forward(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Return the student's feature in the teacher's width, and the margin (C,)."""
        if self.training:
            self._take_in(wide(teacher).transpose(0, 1).flatten(1).clamp(max=0))
        return self.layer(student), self.margin

    def _take_in(self, negative: Tensor) -> None:
        count = (negative < 0).sum(dim=1)
        self.seen += count
        shortfall = negative.sum(dim=1) - count * self.margin
        self.margin += shortfall / self.seen.clamp(min=1)
