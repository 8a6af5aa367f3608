"""Streamlined distillation: each sample's outputs, and the angles between the samples' logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import DistillBatch
from distill_lab.losses.base import Loss
from distill_lab.losses.checks import require_same_classes
from distill_lab.losses.divergence import kl_divergence
from distill_lab.losses.precision import full_precision, wide

SMALLEST_LENGTH = 1e-12


@full_precision()
def skd_instance(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """KL(teacher || student) of softened outputs, not times temperature squared.

    Source: Jeong, Lee, Choi 2026, "Streamlined Knowledge Distillation", CVPR, equation 1. The
    authors' code multiplies by temperature squared and leaves out the samples of which the teacher
    is surer than of the median one.

    Args:
        student_logits: (B, K), any float dtype; computed in float32.
        teacher_logits: (B, K), treated as a constant.
        temperature: > 0, no unit.

    Returns:
        Scalar in nats, mean over B; zero iff the softened outputs agree.

    Raises:
        ValueError: the shapes differ, or the temperature is not above 0.
    """
    require_same_classes("skd_instance", student_logits, teacher_logits)
    if not temperature > 0:
        raise ValueError(f"skd_instance: temperature must be > 0, got {temperature}.")
    student = F.log_softmax(wide(student_logits) / temperature, dim=1)
    teacher = F.log_softmax(wide(teacher_logits.detach()) / temperature, dim=1)
    return kl_divergence(student, teacher).mean()


@full_precision()
def skd_direction(student_logits: Tensor, teacher_logits: Tensor, tikhonov: float) -> Tensor:
    """Mahalanobis length of what the cosines between samples differ by.

    A row of the difference of the two (B, B) matrices of cosines is one sample's; its length is
    taken in the rows' own covariance, to which `tikhonov` times the identity is added.

    Source: Jeong, Lee, Choi 2026, "Streamlined Knowledge Distillation", CVPR, equations 3 to 8. The
    authors' code divides the cosines by K and halves the value, about, by a mask over classes.
    Their square root has no finite gradient at 0; here it is a norm, whose gradient there is 0.

    Args:
        student_logits: (B, K), any float dtype; computed in float32.
        teacher_logits: (B, K), treated as a constant.
        tikhonov: > 0; added to variances of differences of cosines.

    Returns:
        Scalar without unit, mean over B; zero iff all cosines agree, and for a batch of one.

    Raises:
        ValueError: the shapes differ, or `tikhonov` is not above 0.
    """
    require_same_classes("skd_direction", student_logits, teacher_logits)
    if not tikhonov > 0:
        raise ValueError(f"skd_direction: tikhonov must be > 0, got {tikhonov}.")
    difference = _cosines(wide(student_logits)) - _cosines(wide(teacher_logits.detach()))
    centred = difference - difference.mean(dim=0)
    covariance = centred.T @ centred / max(len(difference) - 1, 1)
    covariance = covariance + tikhonov * torch.eye(len(difference)).to(covariance)
    factor = torch.linalg.cholesky(covariance)
    whitened = torch.linalg.solve_triangular(factor, difference.T, upper=False)
    return torch.linalg.vector_norm(whitened, dim=0).mean()


def _cosines(logits: Tensor) -> Tensor:
    """Return (B, B); a row of zeros has cosine 0, and no gradient of the size of 1 / epsilon."""
    length = torch.linalg.vector_norm(logits, dim=1, keepdim=True)
    unit = logits / length.masked_fill(length < SMALLEST_LENGTH, 1.0)
    return unit @ unit.T


class SKD(Loss):
    """`skd_instance` plus weighted `skd_direction`; with several teachers, the mean over them."""

    def __init__(self, weight: float, direction_weight: float, tikhonov: float) -> None:
        super().__init__(weight)
        if not direction_weight >= 0:
            raise ValueError(f"direction_weight: must be >= 0, got {direction_weight}.")
        if not tikhonov > 0:
            raise ValueError(f"tikhonov: must be > 0, got {tikhonov}.")
        self.direction_weight = direction_weight
        self.tikhonov = tikhonov

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted sum of both parts."""
        student = batch.student.logits
        values = [
            skd_instance(student, teacher.logits, batch.temperature)
            + self.direction_weight * skd_direction(student, teacher.logits, self.tikhonov)
            for teacher in batch.teachers
        ]
        return torch.stack(values).mean()
