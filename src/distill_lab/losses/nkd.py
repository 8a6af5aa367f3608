"""Normalised distillation: the target class and the others, each on its own scale."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import DistillBatch
from distill_lab.losses.base import Loss
from distill_lab.losses.checks import require_same_classes
from distill_lab.losses.labels import class_indices
from distill_lab.losses.precision import wide


def nkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    temperature: float,
    nontarget_weight: float,
) -> Tensor:
    """Cross-entropy at the target class plus that of the other classes, normalised to sum to 1.

    The target's part is not softened: minus the teacher's probability of the target times the
    student's log-probability of it. The other part is softened and times temperature squared.

    Source: Yang et al. 2023, arXiv:2303.13005, section 3.1, and the authors' code (yzd-v/cls_KD).
    A version of that code leaves the target class in the second part (its mask is all ones); the
    paper's definition is used here.

    Args:
        student_logits: (B, K), any float dtype; computed in float32.
        teacher_logits: (B, K), treated as a constant.
        targets: (B,) class indices; of (B, K) probabilities the likeliest class counts.
        temperature: > 0, of the non-target part.
        nontarget_weight: >= 0; gamma in the paper.

    Returns:
        Scalar in nats, mean over B; a cross-entropy, so not 0 where both agree.

    Raises:
        ValueError: the shapes differ, or the temperature is not above 0.
    """
    require_same_classes("nkd", student_logits, teacher_logits)
    if not temperature > 0:
        raise ValueError(f"nkd: temperature must be > 0, got {temperature}.")
    student, teacher = wide(student_logits), wide(teacher_logits.detach())
    labels = class_indices(targets)[:, None]
    certainty = F.softmax(teacher, dim=1).gather(1, labels)
    target = -(certainty * F.log_softmax(student, dim=1).gather(1, labels)).mean()
    others = F.softmax(_nontarget(teacher, labels) / temperature, dim=1)
    guesses = F.log_softmax(_nontarget(student, labels) / temperature, dim=1)
    nontarget = -(others * guesses).sum(dim=1).mean()
    return target + nontarget_weight * temperature**2 * nontarget


def _nontarget(logits: Tensor, labels: Tensor) -> Tensor:
    """Return (B, K - 1), the logits without that of the label (B, 1)."""
    columns = torch.arange(logits.shape[1] - 1, device=logits.device)
    return logits.gather(1, columns + (columns >= labels).long())


class NKD(Loss):
    """`nkd` as a term, at a temperature of its own; with several teachers, the mean over them."""

    zero_at_match: ClassVar[bool] = False
    reads_labels: ClassVar[bool] = True

    def __init__(self, weight: float, nontarget_weight: float, temperature: float) -> None:
        super().__init__(weight)
        if not nontarget_weight >= 0:
            raise ValueError(f"nontarget_weight: must be >= 0, got {nontarget_weight}.")
        if not temperature > 0:
            raise ValueError(f"temperature: must be > 0, got {temperature}.")
        self.nontarget_weight = nontarget_weight
        self.temperature = temperature

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted sum of both parts."""
        values = [
            nkd(
                batch.student.logits,
                teacher.logits,
                batch.targets,
                self.temperature,
                self.nontarget_weight,
            )
            for teacher in batch.teachers
        ]
        return torch.stack(values).mean()
