"""Response-based distillation of softened outputs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import DistillBatch
from distill_lab.losses.base import Loss
from distill_lab.losses.checks import require_same_classes
from distill_lab.losses.divergence import kl_divergence
from distill_lab.losses.precision import wide


def kd(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """KL(teacher || student) of softened outputs, times temperature squared.

    Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531, section 2. The paper states a
    cross-entropy; the KL differs from it by the teacher's entropy, has the same gradient, and is 0
    when both agree.

    Args:
        student_logits: (B, K), any float dtype; computed in float32.
        teacher_logits: (B, K), treated as a constant.
        temperature: > 0, no unit.

    Returns:
        Scalar in nats, mean over B; zero iff the softened outputs agree.

    Raises:
        ValueError: the shapes differ, or the temperature is not above 0.
    """
    require_same_classes("kd", student_logits, teacher_logits)
    if not temperature > 0:
        raise ValueError(f"kd: temperature must be > 0, got {temperature}.")
    student = F.log_softmax(wide(student_logits) / temperature, dim=-1)
    teacher = F.log_softmax(wide(teacher_logits.detach()) / temperature, dim=-1)
    return kl_divergence(student, teacher).mean() * temperature**2


class KD(Loss):
    """`kd` as a term; with several teachers, the mean over them."""

    def __init__(self, weight: float) -> None:
        super().__init__(weight)

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted divergence from the teacher(s)."""
        student = batch.student.logits
        values = [kd(student, teacher.logits, batch.temperature) for teacher in batch.teachers]
        return torch.stack(values).mean()
