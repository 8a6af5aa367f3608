"""Entropy-based distillation: for each sample, sure teachers count more."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import DistillBatch
from distill_lab.losses.base import Loss
from distill_lab.losses.divergence import kl_divergence
from distill_lab.losses.precision import wide


def ebkd(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """KL from each teacher times temperature squared, weighted by the teacher's certainty.

    Source: Kwon et al. 2020, "Adaptive knowledge distillation based on entropy", ICASSP, as in the
    code of CA-MKD (Rorozhl/CA-MKD). That code divides the weighted sum by M although its weights
    add up to M - 1, so its scale grows with M; here they add up to 1.

    Args:
        student_logits: (B, K), any float dtype; computed in float32.
        teacher_logits: (M, B, K) of M teachers, treated as a constant.
        temperature: > 0, no unit; of the divergences, the entropies are those at 1.

    Returns:
        Scalar in nats, mean over B; zero iff all softened outputs agree.

    Raises:
        ValueError: the shapes do not fit, or the temperature is not above 0.
    """
    values = divergences(student_logits, teacher_logits, temperature)
    return (entropy_weights(teacher_logits) * values).sum(dim=0).mean()


def entropy_weights(teacher_logits: Tensor) -> Tensor:
    """Return (M, B) weights (1 - H_k / sum of H) / (M - 1), which add up to 1 over M.

    One teacher has the weight 1. Teachers without any entropy have equal ones.

    >>> entropy_weights(torch.tensor([[[0.0, 0.0]], [[0.0, -100.0]]]))
    tensor([[0.],
            [1.]])
    """
    num_teachers = len(teacher_logits)
    if num_teachers == 1:
        return torch.ones_like(wide(teacher_logits.detach()[..., 0]))
    log_p = F.log_softmax(wide(teacher_logits.detach()), dim=-1)
    entropy = -(log_p.exp() * log_p).sum(dim=-1)
    total = entropy.sum(dim=0)
    tiny = torch.finfo(total.dtype).tiny
    share = torch.where(total > tiny, entropy / total.clamp_min(tiny), 1 / num_teachers)
    return (1 - share) / (num_teachers - 1)


def divergences(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Return (M, B): KL(teacher || student) for each teacher and sample, times temperature squared.

    Args:
        student_logits: (B, K), any float dtype; computed in float32.
        teacher_logits: (M, B, K) of M teachers, treated as a constant.
        temperature: > 0, no unit.

    Raises:
        ValueError: the shapes do not fit, or the temperature is not above 0.
    """
    if student_logits.shape != teacher_logits.shape[1:]:
        raise ValueError(
            f"student logits are {tuple(student_logits.shape)}, teacher logits "
            f"{tuple(teacher_logits.shape)}; they must be (B, K) and (M, B, K), one entry for each "
            "of M teachers over the same K classes."
        )
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}.")
    student = F.log_softmax(wide(student_logits) / temperature, dim=-1)
    teachers = F.log_softmax(wide(teacher_logits.detach()) / temperature, dim=-1)
    return kl_divergence(student, teachers) * temperature**2


class EBKD(Loss):
    """`ebkd` as a term; with one teacher it is `kd`."""

    def __init__(self, weight: float) -> None:
        super().__init__(weight)

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted divergence from the teachers."""
        teachers = torch.stack([teacher.logits for teacher in batch.teachers])
        return ebkd(batch.student.logits, teachers, batch.temperature)
