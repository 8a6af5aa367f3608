"""Weighted soft labels: distil what the teacher knows better than the student."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import DistillBatch
from distill_lab.losses.base import Loss
from distill_lab.losses.checks import require_same_classes
from distill_lab.losses.divergence import kl_divergence
from distill_lab.losses.labels import as_labels
from distill_lab.losses.precision import wide

EPSILON = 1e-7
"""Keeps the ratio finite where the teacher is certain and right; as in the authors' code."""


def wsld(
    student_logits: Tensor, teacher_logits: Tensor, targets: Tensor, temperature: float
) -> Tensor:
    """KL(teacher || student) of softened outputs, weighted by sample, times temperature squared.

    A sample's weight is 1 - exp(-r), r being the student's cross-entropy with the label over the
    teacher's, both at temperature 1: near 1 where the teacher knows better, near 0 where the
    student already does. It is a constant of the step, without gradient.

    Source: Zhou et al. 2021, arXiv:2102.00650, section 4, and the authors' code
    (bellymonster/Weighted-Soft-Label-Distillation). They state a cross-entropy; as the weight is
    a constant, the KL has the same gradient, and is 0 when both agree.

    Args:
        student_logits: (B, K), any float dtype; computed in float32.
        teacher_logits: (B, K), treated as a constant.
        targets: (B,) class indices, or (B, K) probabilities.
        temperature: > 0, no unit.

    Returns:
        Scalar in nats, mean over B: a sum of weighted samples over B, not over their weights.

    Raises:
        ValueError: the shapes differ, or the temperature is not above 0.
    """
    require_same_classes("wsld", student_logits, teacher_logits)
    if not temperature > 0:
        raise ValueError(f"wsld: temperature must be > 0, got {temperature}.")
    student, teacher = wide(student_logits), wide(teacher_logits.detach())
    divergence = kl_divergence(
        F.log_softmax(student / temperature, dim=1),
        F.log_softmax(teacher / temperature, dim=1),
    )
    return (_weights(student.detach(), teacher, targets) * divergence).mean() * temperature**2


def _weights(student: Tensor, teacher: Tensor, targets: Tensor) -> Tensor:
    """Return (B,) weights in [0, 1]."""
    labels = as_labels(targets)
    student_error = F.cross_entropy(student, labels, reduction="none")
    teacher_error = F.cross_entropy(teacher, labels, reduction="none")
    return -torch.expm1(-student_error / (teacher_error + EPSILON))


class WSLD(Loss):
    """`wsld` as a term; with several teachers, the mean over them."""

    full_gradient: ClassVar[bool] = False
    reads_labels: ClassVar[bool] = True

    def __init__(self, weight: float) -> None:
        super().__init__(weight)

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted divergence from the teacher(s)."""
        student = batch.student.logits
        values = [
            wsld(student, teacher.logits, batch.targets, batch.temperature)
            for teacher in batch.teachers
        ]
        return torch.stack(values).mean()
