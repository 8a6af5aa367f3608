"""Distillation from a power transform of the teacher, most from where it is least sure."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import DistillBatch
from distill_lab.losses.base import Loss
from distill_lab.losses.checks import require_same_classes
from distill_lab.losses.divergence import kl_divergence
from distill_lab.losses.precision import wide


def wttm(student_logits: Tensor, teacher_logits: Tensor, exponent: float) -> Tensor:
    """KL(transformed teacher || student), each sample weighted by the power sum of the teacher.

    The weight is the sum over classes of the teacher's probabilities raised to the exponent: 1
    where it is certain, K^(1 - exponent) where it is uniform. The weights are not normalised.

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
    require_same_classes("wttm", student_logits, teacher_logits)
    if not exponent > 0:
        raise ValueError(f"wttm: exponent must be > 0, got {exponent}.")
    student = F.log_softmax(wide(student_logits), dim=1)
    powers = F.log_softmax(wide(teacher_logits.detach()), dim=1) * exponent
    teacher = F.log_softmax(powers, dim=1)
    divergence = kl_divergence(student, teacher)
    return (powers.logsumexp(dim=1).exp() * divergence).mean()


class WTTM(Loss):
    """`wttm` as a term; with several teachers, the mean over them."""

    zero_at_match = False  # the student is to be as soft as the transformed teacher

    def __init__(self, weight: float, exponent: float) -> None:
        super().__init__(weight)
        if not exponent > 0:
            raise ValueError(f"exponent: must be > 0, got {exponent}.")
        self.exponent = exponent

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted divergence from the transformed teacher(s)."""
        student = batch.student.logits
        values = [wttm(student, teacher.logits, self.exponent) for teacher in batch.teachers]
        return torch.stack(values).mean()
