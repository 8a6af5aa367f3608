"""Confidence-aware distillation: for each sample, teachers that know its label count more."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import DistillBatch
from distill_lab.losses.base import Loss
from distill_lab.losses.ebkd import divergences
from distill_lab.losses.precision import wide


def ca_mkd(
    student_logits: Tensor, teacher_logits: Tensor, targets: Tensor, temperature: float
) -> Tensor:
    """KL from each teacher times temperature squared, weighted by the teacher's cross-entropy.

    Source: Zhang et al. 2022, arXiv:2201.00007, the part on logits (`ca_mkd_features` is the other
    one). The authors' code divides by M although its weights add up to 1; here it does not.

    Args:
        student_logits: (B, K), any float dtype; computed in float32.
        teacher_logits: (M, B, K) of M teachers, treated as a constant.
        targets: (B,) class indices or (B, K) probabilities.
        temperature: > 0, no unit; of the divergences, the cross-entropies are those at 1.

    Returns:
        Scalar in nats, mean over B; zero iff all softened outputs agree.

    Raises:
        ValueError: the shapes do not fit, or the temperature is not above 0.
    """
    values = divergences(student_logits, teacher_logits, temperature)
    return (confidence_weights(teacher_logits, targets) * values).sum(dim=0).mean()


def confidence_weights(logits: Tensor, targets: Tensor) -> Tensor:
    """Return (M, B) weights (1 - softmax over M of the cross-entropies) / (M - 1), with sum 1.

    One teacher has the weight 1.

    >>> confidence_weights(torch.tensor([[[0.0, 100.0]], [[0.0, 0.0]]]), torch.tensor([0]))
    tensor([[0.],
            [1.]])

    Args:
        logits: (M, B, K) of M teachers, treated as a constant.
        targets: (B,) class indices or (B, K) probabilities.
    """
    num_teachers = len(logits)
    if num_teachers == 1:
        return torch.ones_like(wide(logits.detach()[..., 0]))
    fixed = wide(logits.detach())
    labels = targets.to(fixed.dtype) if targets.is_floating_point() else targets
    wrong = torch.stack([F.cross_entropy(each, labels, reduction="none") for each in fixed])
    return (1 - torch.softmax(wrong, dim=0)) / (num_teachers - 1)


class CAMKD(Loss):
    """`ca_mkd` as a term; with one teacher it is `kd`."""

    reads_labels: ClassVar[bool] = True

    def __init__(self, weight: float) -> None:
        super().__init__(weight)

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted divergence from the teachers."""
        teachers = torch.stack([teacher.logits for teacher in batch.teachers])
        return ca_mkd(batch.student.logits, teachers, batch.targets, batch.temperature)
