"""Attention distributions of a transformer layer, matched by their divergence."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from distill_lab.contracts import DistillBatch, Shapes
from distill_lab.losses.attention_mse import comparable_heads
from distill_lab.losses.checks import require_equal_lengths
from distill_lab.losses.pairs import PairLoss


def attention_kl(student_attention: Tensor, teacher_attention: Tensor) -> Tensor:
    """KL(teacher || student) of the distributions that tokens spread their attention with.

    Source: Wang et al. 2020 (MiniLM), arXiv:2002.10957, section 3.1. A probability below the
    smallest normal number of the student's dtype counts as that number.

    Args:
        student_attention: (B, heads, L, L), rows sum to 1. Where the numbers of heads differ, both
            sides are averaged over heads; MiniLM asks for equal numbers.
        teacher_attention: the same with its own number of heads, treated as a constant.

    Returns:
        Scalar in nats, mean over B, heads and rows; zero iff the maps agree.

    Raises:
        ValueError: the maps differ in more than the number of heads.
    """
    student, teacher = comparable_heads("attention_kl", student_attention, teacher_attention)
    smallest = torch.finfo(student_attention.dtype).tiny  # 1 / tiny is finite in the same dtype
    gain = teacher.clamp(min=smallest).log() - student.clamp(min=smallest).log()
    return (teacher * gain).sum(dim=-1).mean()


class AttentionKL(PairLoss):
    """`attention_kl` as a term, summed over pairs of layers; the mean over several teachers.

    MiniLM distils the last layer alone, beside the relations of its values: see `minilm`.
    """

    aligns_tokens: ClassVar[bool] = True

    axes: ClassVar[tuple[int, ...]] = (4,)
    suffix: ClassVar[str] = ":attention"
    choice: ClassVar[Literal["all", "middle", "last"]] = "last"

    def __init__(self, weight: float, pairs: list[list[str]] | Literal["auto"]) -> None:
        super().__init__(weight, pairs)

    def connect(
        self, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...], num_samples: int
    ) -> None:
        """Check the pairs, the lengths of their sequences too."""
        self.check_shapes(student_shapes, teacher_shapes)
        require_equal_lengths(self.pairs, student_shapes, teacher_shapes)

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted divergence from the teacher(s)."""
        values = [
            attention_kl(student, teacher)
            for number in range(len(batch.teachers))
            for student, teacher in self.features(batch, number)
        ]
        return torch.stack(values).sum() / len(batch.teachers)
