"""Attention maps of transformer layers, matched by squared error."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import DistillBatch, Shapes
from distill_lab.losses.checks import require_equal_lengths
from distill_lab.losses.pairs import PairLoss
from distill_lab.losses.precision import wide


def attention_mse(student_attention: Tensor, teacher_attention: Tensor) -> Tensor:
    """Mean squared difference of attention maps.

    Source: Jiao et al. 2020 (TinyBERT), arXiv:1909.10351, section 3, attention based
    distillation. TinyBERT compares scores before the softmax; this compares the probabilities
    after it, as TextBrewer does on the maps that transformers returns. They are about 1 / L, so
    values are far smaller than TinyBERT's.

    Args:
        student_attention: (B, heads, L, L), rows sum to 1. Where the numbers of heads differ, both
            sides are averaged over heads.
        teacher_attention: the same with its own number of heads, treated as a constant.

    Returns:
        Scalar, mean over B, heads, rows and columns; zero iff the maps agree.

    Raises:
        ValueError: the maps differ in more than the number of heads.
    """
    student, teacher = comparable_heads("attention_mse", student_attention, teacher_attention)
    return F.mse_loss(student, teacher)


class AttentionMSE(PairLoss):
    """`attention_mse` as a term, summed over pairs of layers; the mean over several teachers."""

    aligns_tokens: ClassVar[bool] = True

    axes: ClassVar[tuple[int, ...]] = (4,)
    suffix: ClassVar[str] = ":attention"

    def __init__(self, weight: float, pairs: list[list[str]] | Literal["auto"]) -> None:
        super().__init__(weight, pairs)

    def connect(
        self, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...], num_samples: int
    ) -> None:
        """Check the pairs, the lengths of their sequences too."""
        self.check_shapes(student_shapes, teacher_shapes)
        require_equal_lengths(self.pairs, student_shapes, teacher_shapes)

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted distance from the teacher(s)."""
        values = [
            attention_mse(student, teacher)
            for number in range(len(batch.teachers))
            for student, teacher in self.features(batch, number)
        ]
        return torch.stack(values).sum() / len(batch.teachers)


def comparable_heads(
    name: str, student_attention: Tensor, teacher_attention: Tensor
) -> tuple[Tensor, Tensor]:
    """Return both maps, averaged over heads where the numbers of heads differ; the second detached.

    Args:
        name: of the loss, for the error.
        student_attention: (B, heads, L, L).
        teacher_attention: the same with its own number of heads.

    Raises:
        ValueError: the maps differ in another axis, or have no four axes.
    """
    first, second = student_attention.shape, teacher_attention.shape
    if len(first) != 4 or len(second) != 4 or first[0] != second[0] or first[2:] != second[2:]:
        raise ValueError(
            f"{name}: student attention is {tuple(first)}, teacher attention {tuple(second)}; both "
            "must be (B, heads, L, L) with equal B and L. Choose networks with as many tokens."
        )
    student, teacher = wide(student_attention), wide(teacher_attention.detach())
    if first[1] == second[1]:
        return student, teacher
    return student.mean(dim=1, keepdim=True), teacher.mean(dim=1, keepdim=True)
