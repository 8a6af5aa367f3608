"""Distillation from a teacher softened more on the target class than on the others."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import DistillBatch
from distill_lab.losses.base import Loss
from distill_lab.losses.checks import require_same_classes
from distill_lab.losses.divergence import kl_divergence
from distill_lab.losses.labels import class_indices
from distill_lab.losses.precision import wide


def asymmetric_temperature(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    target_temperature: float,
    other_temperature: float,
    student_temperature: float,
) -> Tensor:
    """KL(teacher || student) with a temperature of its own for the teacher's target class.

    A large teacher is too sure of the target, which flattens the differences between the other
    classes; a higher temperature on the target alone keeps them. The logits are divided as they
    are, so a constant added to the teacher's does matter.

    Source: Li et al. 2022, arXiv:2210.04427, section 4; lxcnju/ATS-LargeKD, which states a
    cross-entropy: the KL differs from it by the teacher's entropy and has the same gradient.

    Args:
        student_logits: (B, K), any float dtype; computed in float32.
        teacher_logits: (B, K), treated as a constant.
        targets: (B,) class indices, or (B, K) probabilities, of which the likeliest class counts.
        target_temperature: > 0, no unit, of the teacher's target class.
        other_temperature: > 0, no unit, of the teacher's other classes.
        student_temperature: > 0, no unit; the value is multiplied with its square.

    Returns:
        Scalar in nats, mean over B; zero iff the student agrees with the softened teacher.

    Raises:
        ValueError: the shapes differ, or a temperature is not above 0.
    """
    require_same_classes("asymmetric_temperature", student_logits, teacher_logits)
    temperatures = (target_temperature, other_temperature, student_temperature)
    if not all(temperature > 0 for temperature in temperatures):
        raise ValueError(f"asymmetric_temperature: all must be > 0, got {temperatures}.")
    scaled = wide(teacher_logits.detach())
    labels = class_indices(targets)[:, None]
    softening = torch.full_like(scaled, other_temperature).scatter_(1, labels, target_temperature)
    teacher = F.log_softmax(scaled / softening, dim=1)
    student = F.log_softmax(wide(student_logits) / student_temperature, dim=1)
    divergence = kl_divergence(student, teacher).mean()
    return divergence * student_temperature**2


class AsymmetricTemperature(Loss):
    """`asymmetric_temperature` as a term; with several teachers, the mean over them."""

    reads_labels: ClassVar[bool] = True

    zero_at_match = False  # the student is to agree with the teacher as softened

    def __init__(
        self,
        weight: float,
        target_temperature: float,
        other_temperature: float,
        student_temperature: float,
    ) -> None:
        super().__init__(weight)
        if not target_temperature > 0:
            raise ValueError(f"target_temperature: must be > 0, got {target_temperature}.")
        if not other_temperature > 0:
            raise ValueError(f"other_temperature: must be > 0, got {other_temperature}.")
        if not student_temperature > 0:
            raise ValueError(f"student_temperature: must be > 0, got {student_temperature}.")
        self.temperatures = (target_temperature, other_temperature, student_temperature)

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted divergence from the softened teacher(s)."""
        student, targets = batch.student.logits, batch.targets
        values = [
            asymmetric_temperature(student, teacher.logits, targets, *self.temperatures)
            for teacher in batch.teachers
        ]
        return torch.stack(values).mean()
