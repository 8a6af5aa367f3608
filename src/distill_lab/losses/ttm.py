"""Distillation from a power transform of the teacher's probabilities."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import DistillBatch
from distill_lab.losses.base import Loss
from distill_lab.losses.checks import require_same_classes
from distill_lab.losses.divergence import kl_divergence
from distill_lab.losses.precision import wide


def ttm(student_logits: Tensor, teacher_logits: Tensor, exponent: float) -> Tensor:
    """KL(transformed teacher || student), with the student's probabilities as they are.

    The teacher's probabilities are raised to a power and normalised, which is softening it alone
    at temperature 1 / exponent. The student stays at temperature 1, so there is no temperature to
    square.

    Source: Zheng and Yang 2024, arXiv:2402.11148, section 4; zkxufo/TTM.

    Args:
        student_logits: (B, K), any float dtype; computed in float32.
        teacher_logits: (B, K), treated as a constant.
        exponent: > 0, no unit; below 1 it softens the teacher (gamma in the paper).

    Returns:
        Scalar in nats, mean over B; zero iff the student agrees with the transformed teacher.

    Raises:
        ValueError: the shapes differ, or the exponent is not above 0.
    """
    require_same_classes("ttm", student_logits, teacher_logits)
    if not exponent > 0:
        raise ValueError(f"ttm: exponent must be > 0, got {exponent}.")
    student = F.log_softmax(wide(student_logits), dim=1)
    teacher = F.log_softmax(wide(teacher_logits.detach()) * exponent, dim=1)
    return kl_divergence(student, teacher).mean()


class TTM(Loss):
    """`ttm` as a term; with several teachers, the mean over them."""

    zero_at_match = False  # the student is to be as soft as the transformed teacher

    def __init__(self, weight: float, exponent: float) -> None:
        super().__init__(weight)
        if not exponent > 0:
            raise ValueError(f"exponent: must be > 0, got {exponent}.")
        self.exponent = exponent

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted divergence from the transformed teacher(s)."""
        student = batch.student.logits
        values = [ttm(student, teacher.logits, self.exponent) for teacher in batch.teachers]
        return torch.stack(values).mean()
