"""Distillation of predictions on three levels: samples, the batch, and classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import DistillBatch
from distill_lab.losses.base import Loss
from distill_lab.losses.checks import require_same_classes
from distill_lab.losses.divergence import kl_divergence
from distill_lab.losses.precision import full_precision, wide


@full_precision()
def mlkd(student_logits: Tensor, teacher_logits: Tensor, temperatures: Sequence[float]) -> Tensor:
    """KL of each sample, and agreement of samples and of classes, summed over temperatures.

    At each temperature: KL(teacher || student) times temperature squared, mean over B; the squared
    difference of the similarities p p^T between samples, summed and divided by B; that of the
    similarities p^T p between classes, summed and divided by K. The latter two are not multiplied
    with temperature squared.

    Source: Jin, Wang, Lin 2023, CVPR, "Multi-level logit distillation", section 3;
    Jin-Ying/Multi-Level-Logit-Distillation. What differs: the paper compares a weakly and a
    strongly augmented view of each image, this the one view that the data module gives. In the
    published code two of the strong view's five KL terms read the weak view, its class and batch
    parts are not added, and a confidence mask multiplies parts that are already means, a constant
    of about one half; none of that is repeated here.

    Args:
        student_logits: (B, K), any float dtype; computed in float32.
        teacher_logits: (B, K), treated as a constant.
        temperatures: one or more, each > 0, no unit.

    Returns:
        Scalar; zero iff the softened outputs agree at every temperature.

    Raises:
        ValueError: the shapes differ, or the temperatures are none or not above 0.
    """
    require_same_classes("mlkd", student_logits, teacher_logits)
    if not temperatures or not all(temperature > 0 for temperature in temperatures):
        raise ValueError(f"mlkd: temperatures must be one or more > 0, got {temperatures}.")
    student, teacher = wide(student_logits), wide(teacher_logits.detach())
    levels = [_three_levels(student, teacher, temperature) for temperature in temperatures]
    return torch.stack(levels).sum()


def _three_levels(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    student = F.log_softmax(student_logits / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=1)
    instance = kl_divergence(student, teacher).mean()
    p, q = teacher.exp(), student.exp()
    num_samples, num_classes = p.shape
    batch = (q @ q.T - p @ p.T).square().sum() / num_samples
    return instance * temperature**2 + batch + _between_classes(q, p) / num_classes


def _between_classes(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the squared length of S'S - T'T, by the smaller of two products: K x K or 2B x 2B."""
    num_samples, num_classes = student.shape
    if num_classes <= 2 * num_samples:
        return (student.T @ student - teacher.T @ teacher).square().sum()
    rows = torch.cat([student, teacher])
    signs = rows.new_tensor([1.0] * num_samples + [-1.0] * num_samples)
    return (rows @ rows.T).square() @ signs @ signs


class MLKD(Loss):
    """`mlkd` as a term; with several teachers, the mean over them."""

    def __init__(self, weight: float, temperatures: list[float]) -> None:
        super().__init__(weight)
        if not temperatures or not all(temperature > 0 for temperature in temperatures):
            raise ValueError(f"temperatures: must be one or more > 0, got {temperatures}.")
        self.temperatures = tuple(temperatures)

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted disagreement with the teacher(s)."""
        student = batch.student.logits
        values = [mlkd(student, teacher.logits, self.temperatures) for teacher in batch.teachers]
        return torch.stack(values).mean()
