"""Distillation of relations: correlation of softened outputs in place of equality."""

from __future__ import annotations

import torch
from torch import Tensor

from distill_lab.contracts import DistillBatch
from distill_lab.losses.base import Loss
from distill_lab.losses.checks import require_same_classes
from distill_lab.losses.precision import wide

ROUNDING = 1e-6
"""Share of a row's length that float32 rounding may leave of a constant row once it is centred."""
SMALLEST = 1e-16
"""Length below which a centred row counts as constant: float32 loses the digits of its square."""


def dist(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float,
    inter_weight: float,
    intra_weight: float,
) -> Tensor:
    """Pearson distance of softened outputs, within samples and within classes.

    Source: Huang et al. 2022, arXiv:2205.10536, equations 9 and 10; hunto/DIST_KD. Both parts are
    multiplied with temperature squared, as in that code, which the paper does not state.

    Args:
        student_logits: (B, K), any float dtype; computed in float32.
        teacher_logits: (B, K), treated as a constant.
        temperature: > 0, no unit.
        inter_weight: >= 0, of the relation between the classes of a sample (beta in the paper).
        intra_weight: >= 0, of the relation between the samples of a class (gamma in the paper).

    Returns:
        Scalar without unit, mean over B and over K; zero when the softened outputs agree.

    Raises:
        ValueError: the shapes differ, or the temperature is not above 0.
    """
    require_same_classes("dist", student_logits, teacher_logits)
    if not temperature > 0:
        raise ValueError(f"dist: temperature must be > 0, got {temperature}.")
    student = (wide(student_logits) / temperature).softmax(dim=1)
    teacher = (wide(teacher_logits.detach()) / temperature).softmax(dim=1)
    inter = pearson_distance(student, teacher, dim=1).mean()
    intra = pearson_distance(student, teacher, dim=0).mean()
    return (inter_weight * inter + intra_weight * intra) * temperature**2


def pearson_distance(student: Tensor, teacher: Tensor, dim: int) -> Tensor:
    """1 - Pearson correlation along an axis, computed so that it is exactly 0 at match.

    Rows that are constant in both networks are at distance 0; those that are constant in one of
    them are uncorrelated, at distance 1. Neither has a gradient, whereas the published 1e-8 in the
    denominator gives the latter one of 1e8.

    >>> rows = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    >>> others = torch.tensor([[2.0, 4.0, 6.0], [3.0, 2.0, 1.0], [0.0, 0.0, 0.0]])
    >>> pearson_distance(rows, others, dim=1).round()
    tensor([0., 2., 0.])
    """
    first, first_varies = _unit(student, dim)
    second, second_varies = _unit(teacher, dim)
    # Between unit vectors, 1 - cosine is half the squared distance.
    distance = 0.5 * (first - second).square().sum(dim)
    one_varies = (first_varies ^ second_varies).to(distance.dtype)
    return torch.where(first_varies & second_varies, distance, one_varies)


def _unit(values: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return rows centred and of length 1, and which of them are not constant."""
    centred = values - values.mean(dim, keepdim=True)
    length = torch.linalg.vector_norm(centred, dim=dim, keepdim=True)
    rounding = ROUNDING * torch.linalg.vector_norm(values, dim=dim, keepdim=True)
    varies = length > rounding + SMALLEST
    return centred / length.masked_fill(~varies, 1.0), varies.squeeze(dim)


class DIST(Loss):
    """`dist` as a term; with several teachers, the mean over them."""

    def __init__(self, weight: float, inter_weight: float, intra_weight: float) -> None:
        super().__init__(weight)
        if not inter_weight >= 0:
            raise ValueError(f"inter_weight: must be >= 0, got {inter_weight}.")
        if not intra_weight >= 0:
            raise ValueError(f"intra_weight: must be >= 0, got {intra_weight}.")
        self.inter_weight = inter_weight
        self.intra_weight = intra_weight

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted distance from the teacher(s)."""
        student, temperature = batch.student.logits, batch.temperature
        weights = (self.inter_weight, self.intra_weight)
        values = [dist(student, one.logits, temperature, *weights) for one in batch.teachers]
        return torch.stack(values).mean()
