"""Distillation of standardised logits: their shape alone, not their scale."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import DistillBatch
from distill_lab.losses.base import Loss
from distill_lab.losses.checks import require_same_classes
from distill_lab.losses.divergence import kl_divergence
from distill_lab.losses.precision import wide

EPSILON = 1e-7
"""Added to the standard deviation, as in the published code."""


def logit_standardization(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float
) -> Tensor:
    """KL(teacher || student) of z-scored logits at a base temperature, times its square.

    Each sample's logits are centred and divided by their standard deviation (unbiased), so the
    student is free to choose location and scale.

    Source: Sun et al. 2024, arXiv:2403.01427, algorithm 1; sunshangquan/logit-standardization-KD.

    Args:
        student_logits: (B, K), any float dtype; computed in float32. A constant row has a z-score
            of 0 and no gradient.
        teacher_logits: (B, K), treated as a constant.
        temperature: > 0, in standard deviations of the logits.

    Returns:
        Scalar in nats, mean over B; zero iff the z-scores agree.

    Raises:
        ValueError: the shapes differ, or the temperature is not above 0.
    """
    require_same_classes("logit_standardization", student_logits, teacher_logits)
    if not temperature > 0:
        raise ValueError(f"logit_standardization: temperature must be > 0, got {temperature}.")
    student = F.log_softmax(_z_scores(wide(student_logits)) / temperature, dim=1)
    teacher = F.log_softmax(_z_scores(wide(teacher_logits.detach())) / temperature, dim=1)
    return kl_divergence(student, teacher).mean() * temperature**2


def _z_scores(logits: Tensor) -> Tensor:
    centred = logits - logits.mean(dim=1, keepdim=True)
    length = torch.linalg.vector_norm(centred, dim=1, keepdim=True)
    deviation = length / math.sqrt(max(logits.shape[1] - 1, 1))
    constant = deviation <= EPSILON
    return (centred / (deviation + EPSILON)).masked_fill(constant, 0.0)


class LogitStandardization(Loss):
    """`logit_standardization` as a term; with several teachers, the mean over them."""

    def __init__(self, weight: float) -> None:
        super().__init__(weight)

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted divergence from the teacher(s)."""
        student, temperature = batch.student.logits, batch.temperature
        values = [
            logit_standardization(student, teacher.logits, temperature)
            for teacher in batch.teachers
        ]
        return torch.stack(values).mean()
