"""Regression of logits that grow to the teacher's, then cross-entropy with the labels."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import DistillBatch
from distill_lab.losses.base import Loss
from distill_lab.losses.checks import require_same_classes
from distill_lab.losses.labels import as_labels
from distill_lab.losses.precision import wide


def annealing_kd(student_logits: Tensor, teacher_logits: Tensor, fraction: float) -> Tensor:
    """Mean squared distance from a fraction of the teacher's logits.

    Source: Jafari et al. 2021, arXiv:2104.07163, where the fraction is 1 - (T - 1) / T_max for a
    falling T; in the published code it is T / T_max for a rising T, which is the same.

    Args:
        student_logits: (B, K), any float dtype; computed in float32.
        teacher_logits: (B, K), treated as a constant.
        fraction: in (0, 1], no unit; 1 for the teacher's logits as they are.

    Returns:
        Scalar, mean over B and K as in the published code.

    Raises:
        ValueError: the shapes differ.
    """
    require_same_classes("annealing_kd", student_logits, teacher_logits)
    return F.mse_loss(wide(student_logits), fraction * wide(teacher_logits.detach()))


class AnnealingKD(Loss):
    """`annealing_kd` in a first phase, cross-entropy with the labels in a second one.

    It is the whole loss of the published recipe: use it without `ce`. There each phase has a
    learning rate schedule of its own and the second starts from the best network of the first;
    here both are one training. The temperature of the config plays no part. With several teachers,
    the mean over them.

    Args:
        weight: of the term, >= 0.
        max_temperature: number of equal steps in which the target grows, >= 1.
        regression_fraction: share of the epochs that the first phase takes, in [0, 1].
    """

    zero_at_match: ClassVar[bool] = False
    reads_labels: ClassVar[bool] = True

    def __init__(self, weight: float, max_temperature: int, regression_fraction: float) -> None:
        super().__init__(weight)
        if max_temperature < 1:
            raise ValueError(f"max_temperature: must be >= 1, got {max_temperature}.")
        if not 0 <= regression_fraction <= 1:
            raise ValueError(f"regression_fraction: must be in [0, 1], got {regression_fraction}.")
        self.max_temperature = max_temperature
        self.regression_fraction = regression_fraction

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted distance from the teacher(s), or the cross-entropy."""
        student = batch.student.logits
        regression_epochs = self.regression_fraction * batch.num_epochs
        if batch.epoch >= regression_epochs:
            return F.cross_entropy(wide(student), as_labels(batch.targets))
        step = annealing_temperature(batch.epoch, regression_epochs, self.max_temperature)
        fraction = step / self.max_temperature
        values = [annealing_kd(student, teacher.logits, fraction) for teacher in batch.teachers]
        return torch.stack(values).mean()


def annealing_temperature(epoch: float, regression_epochs: float, max_temperature: int) -> int:
    """Return 1, 2, ... up to the maximum, each for the same part of the first phase.

    >>> [annealing_temperature(epoch, 6, 3) for epoch in (0.0, 1.9, 2.0, 4.0, 5.9)]
    [1, 1, 2, 3, 3]
    """
    return min(1 + int(epoch * max_temperature / regression_epochs), max_temperature)
