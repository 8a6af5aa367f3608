"""Distillation with the target class and the others decoupled."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import DistillBatch
from distill_lab.losses.base import Loss
from distill_lab.losses.divergence import kl_divergence
from distill_lab.losses.labels import class_indices
from distill_lab.losses.precision import wide


def dkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    temperature: float,
    target_weight: float,
    nontarget_weight: float,
) -> Tensor:
    """KL of "target or not" plus KL among the other classes, both times temperature squared.

    Plain KD is the first part plus the second times the teacher's mass outside the target; here
    the second no longer fades where the teacher is sure of the target.

    Source: Zhao et al. 2022, arXiv:2203.08679, equation 7; mdistiller. The published code takes
    the logarithm of summed probabilities, which is infinite once they underflow; this one leaves
    the target's column out and stays in log space. Its warm-up is `weighting.schedules`.

    Args:
        student_logits: (B, K), any float dtype; computed in float32.
        teacher_logits: (B, K), treated as a constant.
        targets: (B,) class indices, or (B, K) probabilities, of which the likeliest class counts.
        temperature: > 0, no unit.
        target_weight: >= 0, of the target class against all others (alpha in the paper).
        nontarget_weight: >= 0, of the classes other than the target (beta in the paper).

    Returns:
        Scalar in nats, mean over B; zero iff the softened outputs agree.

    Raises:
        ValueError: the shapes differ, there are fewer than 2 classes, or the temperature is not
            above 0.
    """
    if student_logits.shape != teacher_logits.shape or student_logits.shape[-1] < 2:
        raise ValueError(
            f"dkd: student logits are {tuple(student_logits.shape)}, teacher logits "
            f"{tuple(teacher_logits.shape)}; both must be (B, K) over the same K >= 2 classes."
        )
    if not temperature > 0:
        raise ValueError(f"dkd: temperature must be > 0, got {temperature}.")
    labels = class_indices(targets)
    student_binary, student_rest = _decoupled(wide(student_logits) / temperature, labels)
    teacher_binary, teacher_rest = _decoupled(wide(teacher_logits.detach()) / temperature, labels)
    target = _kl(student_binary, teacher_binary)
    nontarget = _kl(student_rest, teacher_rest)
    return (target_weight * target + nontarget_weight * nontarget) * temperature**2


def _decoupled(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return log-probabilities (B, 2) of target and rest, and (B, K - 1) within the rest."""
    others = torch.ones_like(logits, dtype=torch.bool).scatter_(1, labels[:, None], False)
    rest = logits[others].view(len(logits), -1)
    pair = torch.stack([logits.gather(1, labels[:, None])[:, 0], rest.logsumexp(dim=1)], dim=1)
    return F.log_softmax(pair, dim=1), F.log_softmax(rest, dim=1)


def _kl(student: Tensor, teacher: Tensor) -> Tensor:
    return kl_divergence(student, teacher).mean()


class DKD(Loss):
    """`dkd` as a term; with several teachers, the mean over them."""

    reads_labels: ClassVar[bool] = True

    def __init__(self, weight: float, target_weight: float, nontarget_weight: float) -> None:
        super().__init__(weight)
        if not target_weight >= 0:
            raise ValueError(f"target_weight: must be >= 0, got {target_weight}.")
        if not nontarget_weight >= 0:
            raise ValueError(f"nontarget_weight: must be >= 0, got {nontarget_weight}.")
        self.target_weight = target_weight
        self.nontarget_weight = nontarget_weight

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted divergence from the teacher(s)."""
        values = [
            dkd(
                batch.student.logits,
                teacher.logits,
                batch.targets,
                batch.temperature,
                self.target_weight,
                self.nontarget_weight,
            )
            for teacher in batch.teachers
        ]
        return torch.stack(values).mean()
