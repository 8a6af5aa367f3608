"""Distillation that counts some samples more than others."""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import DistillBatch
from distill_lab.losses.base import Loss
from distill_lab.losses.checks import require_same_classes
from distill_lab.losses.divergence import kl_divergence
from distill_lab.losses.labels import class_indices
from distill_lab.losses.precision import wide

By = Literal["teacher_confidence", "teacher_correct", "student_focal"]
FOCUS = 2  # exponent of the focal loss, Lin et al. 2017, arXiv:1708.02002


def sample_weighted_kd(
    student_logits: Tensor, teacher_logits: Tensor, sample_weights: Tensor, temperature: float
) -> Tensor:
    """KL(teacher || student) of softened outputs, times temperature squared, weighted by sample.

    Source: Furlanello et al. 2018, arXiv:1805.04770 (confidence-weighted by teacher maximum); they
    divide the weights by their sum over the batch, and sum: the same as a mean with weights of
    mean 1.

    Args:
        student_logits: (B, K), any float dtype; computed in float32.
        teacher_logits: (B, K), treated as a constant.
        sample_weights: (B,), >= 0, treated as constants; only their ratios matter.
        temperature: > 0, no unit.

    Returns:
        Scalar in nats, weighted mean over B; 0 where all weights are 0.

    Raises:
        ValueError: the shapes do not fit, or the temperature is not above 0.
    """
    require_same_classes("sample_weighted_kd", student_logits, teacher_logits)
    if sample_weights.shape != student_logits.shape[:1]:
        raise ValueError(
            f"sample_weighted_kd: weights are {tuple(sample_weights.shape)} for "
            f"{len(student_logits)} samples; they must be (B,)."
        )
    if not temperature > 0:
        raise ValueError(f"sample_weighted_kd: temperature must be > 0, got {temperature}.")
    student = F.log_softmax(wide(student_logits) / temperature, dim=1)
    teacher = F.log_softmax(wide(teacher_logits.detach()) / temperature, dim=1)
    divergence = kl_divergence(student, teacher)
    return (_of_mean_one(sample_weights) * divergence).mean() * temperature**2


def _of_mean_one(weights: Tensor) -> Tensor:
    weights = wide(weights.detach())
    return weights / weights.mean().clamp_min(torch.finfo(weights.dtype).tiny)


class SampleWeightedKD(Loss):
    """`sample_weighted_kd` as a term; with several teachers, the mean over them.

    Args:
        weight: of the term, >= 0.
        by: what a sample counts by, all at temperature 1:
            "teacher_confidence": the teacher's largest probability (Furlanello et al. 2018);
            "teacher_correct": 1 where the teacher is right, else 0 (the first half of Meng et al.
            2019, arXiv:1904.12399, whose other samples learn from the label: `ce` does that);
            "student_focal": (1 - the student's probability of the label) squared, the factor of
            the focal loss (Lin et al. 2017). A mixed label counts as its likeliest class.
    """

    reads_labels: ClassVar[bool] = True

    def __init__(self, weight: float, by: By) -> None:
        super().__init__(weight)
        if by not in get_args(By):
            raise ValueError(f"by: must be one of {', '.join(get_args(By))}, got {by!r}.")
        self.by = by

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted divergence from the teacher(s)."""
        student, labels = batch.student.logits, class_indices(batch.targets)
        values = [
            sample_weighted_kd(
                student,
                teacher.logits,
                weights_by(self.by, student, teacher.logits, labels),
                batch.temperature,
            )
            for teacher in batch.teachers
        ]
        return torch.stack(values).mean()


def weights_by(by: By, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
    """Return what each sample counts, (B,) constants in [0, 1], as `SampleWeightedKD` says.

    Args:
        by: which rule.
        student_logits: (B, K).
        teacher_logits: (B, K).
        labels: (B,) class indices.
    """
    if by == "teacher_correct":
        return (teacher_logits.argmax(dim=1) == labels).to(wide(student_logits).dtype)
    if by == "teacher_confidence":
        return wide(teacher_logits.detach()).softmax(dim=1).amax(dim=1)
    probability = wide(student_logits.detach()).softmax(dim=1).gather(1, labels[:, None])
    return (1 - probability.squeeze(1)) ** FOCUS
