"""Distillation with the teacher's mistakes put right first."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import DistillBatch
from distill_lab.losses.base import Loss
from distill_lab.losses.checks import require_same_classes
from distill_lab.losses.divergence import kl_divergence
from distill_lab.losses.labels import class_indices
from distill_lab.losses.precision import wide

Mode = Literal["shift", "smooth"]


def knowledge_adjustment(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    temperature: float,
    mode: Mode,
    correct_probability: float,
) -> Tensor:
    """KL(adjusted teacher || student) of softened outputs, times temperature squared.

    Samples that the teacher gets right are distilled as in `kd`. Where it is wrong, "shift" swaps
    the probabilities of its prediction and of the true class; "smooth" replaces its output by a
    smoothed label, which is not softened.

    Source: Wen, Lai, Qian 2019, arXiv:1911.07471 (knowledge adjustment). KD_Lib's versions swap
    the two largest probabilities, whether or not the true class is among them, and give
    probabilities to a divergence of logarithms; neither is done here.

    Args:
        student_logits: (B, K), any float dtype; computed in float32.
        teacher_logits: (B, K), treated as a constant; right where no class is above the label's.
        targets: (B,) class indices; of (B, K) probabilities the likeliest class counts.
        temperature: > 0, no unit.
        mode: how a wrong output is adjusted.
        correct_probability: of the true class in a smoothed label, in (0, 1); the other classes
            share the rest evenly. "shift" does not read it.

    Returns:
        Scalar in nats, mean over B; zero iff the student agrees with the adjusted teacher.

    Raises:
        ValueError: the shapes differ, or an argument is out of range.
    """
    require_same_classes("knowledge_adjustment", student_logits, teacher_logits)
    if not temperature > 0:
        raise ValueError(f"knowledge_adjustment: temperature must be > 0, got {temperature}.")
    _check(mode, correct_probability)
    logits = wide(teacher_logits.detach())
    labels = class_indices(targets)[:, None]
    if mode == "shift":
        teacher = F.log_softmax(_swapped(logits, labels) / temperature, dim=1)
    else:
        wrong = logits.gather(1, labels) < logits.amax(dim=1, keepdim=True)
        softened = F.log_softmax(logits / temperature, dim=1)
        teacher = torch.where(wrong, _smoothed(logits, labels, correct_probability), softened)
    student = F.log_softmax(wide(student_logits) / temperature, dim=1)
    return kl_divergence(student, teacher).mean() * temperature**2


def _swapped(logits: Tensor, labels: Tensor) -> Tensor:
    """Exchange each row's largest logit and its label's; nothing changes where they are one."""
    largest, predicted = logits.max(dim=1, keepdim=True)
    return logits.scatter(1, predicted, logits.gather(1, labels)).scatter(1, labels, largest)


def _smoothed(like: Tensor, labels: Tensor, correct_probability: float) -> Tensor:
    """Return log-probabilities (B, K) of smoothed labels (B, 1)."""
    rest = (1 - correct_probability) / max(like.shape[1] - 1, 1)
    return torch.full_like(like, math.log(rest)).scatter(1, labels, math.log(correct_probability))


def _check(mode: str, correct_probability: float) -> None:
    if mode not in ("shift", "smooth"):
        raise ValueError(f'mode: must be "shift" or "smooth", got "{mode}".')
    if not 0 < correct_probability < 1:
        raise ValueError(f"correct_probability: must be in (0, 1), got {correct_probability}.")


class KnowledgeAdjustment(Loss):
    """`knowledge_adjustment` as a term; with several teachers, the mean over them."""

    zero_at_match: ClassVar[bool] = False
    reads_labels: ClassVar[bool] = True

    def __init__(self, weight: float, mode: Mode, correct_probability: float) -> None:
        super().__init__(weight)
        _check(mode, correct_probability)
        self.mode: Mode = mode
        self.correct_probability = correct_probability

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted divergence from the adjusted teacher(s)."""
        values = [
            knowledge_adjustment(
                batch.student.logits,
                teacher.logits,
                batch.targets,
                batch.temperature,
                self.mode,
                self.correct_probability,
            )
            for teacher in batch.teachers
        ]
        return torch.stack(values).mean()
