"""How closely a student follows its teacher.

Source: Stanton et al. 2021, arXiv:2106.05945.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Fidelity:
    """Of one student to one teacher on one set of samples.

    Attributes:
        agreement: see `agreement`.
        kl_to_teacher: see `kl_to_teacher`.
    """

    agreement: float
    kl_to_teacher: float


def fidelity(student_logits: Tensor, teacher_logits: Tensor) -> Fidelity:
    """Return both measures; arguments and errors as theirs."""
    both = (student_logits, teacher_logits)
    return Fidelity(agreement(*both), kl_to_teacher(*both))


def agreement(student_logits: Tensor, teacher_logits: Tensor) -> float:
    """Fraction of samples for which both give the same top class; higher is better.

    Args:
        student_logits: (N, K).
        teacher_logits: (N, K).

    Raises:
        ValueError: the shapes differ, or there are no samples.
    """
    _check(student_logits, teacher_logits)
    return (student_logits.argmax(dim=1) == teacher_logits.argmax(dim=1)).double().mean().item()


def kl_to_teacher(student_logits: Tensor, teacher_logits: Tensor) -> float:
    """KL(teacher || student) at temperature 1; lower is better.

    Args:
        student_logits: (N, K), finite; computed in float64.
        teacher_logits: (N, K), likewise.

    Returns:
        In nats, mean over N; zero iff the outputs agree.

    Raises:
        ValueError: the shapes differ, or there are no samples.
    """
    _check(student_logits, teacher_logits)
    return F.kl_div(
        F.log_softmax(student_logits.detach().double(), dim=1),
        F.log_softmax(teacher_logits.detach().double(), dim=1),
        reduction="batchmean",
        log_target=True,
    ).item()


def _check(student_logits: Tensor, teacher_logits: Tensor) -> None:
    if student_logits.shape != teacher_logits.shape or not len(student_logits):
        raise ValueError(
            "student_logits, teacher_logits: must both be (N, K) with N >= 1, "
            f"got {tuple(student_logits.shape)} and {tuple(teacher_logits.shape)}."
        )
