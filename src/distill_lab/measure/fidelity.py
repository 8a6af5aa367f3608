"""How closely a student follows its teacher.

Source: Stanton et al. 2021, arXiv:2106.05945.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor
from torch.nn import functional as F

Number = TypeVar("Number", float, Tensor)


@dataclass(frozen=True)
class Fidelity:
    """Of one student to one teacher on one set of samples.

    Attributes:
        agreement: see `agreement`.
        kl_to_teacher: see `kl_to_teacher`.
    """

    agreement: float
    kl_to_teacher: float


@dataclass(frozen=True)
class Agreement:
    """Of two networks on one set of samples.

    Attributes:
        first: name of one.
        second: name of the other.
        agreement: see `agreement`.
        if_independent: see `independent_agreement`, at their accuracies.
    """

    first: str
    second: str
    agreement: float
    if_independent: float


def fidelity(student_logits: Tensor, teacher_logits: Tensor) -> Fidelity:
    """Return both measures; arguments and errors as theirs."""
    both = (student_logits, teacher_logits)
    return Fidelity(agreement(*both), kl_to_teacher(*both))


def logit_difference(logits: Tensor, of_copy: Tensor) -> float:
    """Largest difference of a logit, as a share of the largest logit; not a number where one is.

    Args:
        logits: (N, K), of a network.
        of_copy: (N, K), of what should answer as it does.
    """
    return float((of_copy - logits).abs().max() / logits.abs().max().clamp(min=1e-12))


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


def independent_agreement(
    first_accuracy: Number, second_accuracy: Number, num_classes: int
) -> Number:
    """Agreement of two networks whose answers have nothing in common but that many are right.

    Whether one is right says nothing of the other, and a wrong answer is any of the other classes,
    each as likely. Networks that find the same samples hard, or that mix up the same classes, agree
    more than that, also without having seen each other.

    Args:
        first_accuracy: in [0, 1]; a number, or several in a tensor.
        second_accuracy: likewise.
        num_classes: K >= 2.

    >>> independent_agreement(0.5, 0.75, 3)
    0.4375
    """
    both_wrong = (1 - first_accuracy) * (1 - second_accuracy)
    return first_accuracy * second_accuracy + both_wrong / (num_classes - 1)


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
