"""Distillation without a teacher: a virtual one that is nearly always right."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import DistillBatch
from distill_lab.losses.base import Loss
from distill_lab.losses.divergence import kl_divergence
from distill_lab.losses.labels import class_probabilities
from distill_lab.losses.precision import wide


def tf_kd(
    student_logits: Tensor, targets: Tensor, correct_probability: float, temperature: float
) -> Tensor:
    """KL(virtual teacher || student), the teacher being made from the labels.

    The virtual teacher gives the true class `correct_probability` and shares the rest evenly; its
    probabilities, not their logarithms, are divided by the temperature and pass a softmax, and the
    student is not softened. So it is in the authors' code, whence the published settings are. At
    temperature 20 the teacher is therefore close to uniform.

    The code also averages over B and K and multiplies the outcome by a `multiplier`, beside a
    cross-entropy weighted 1 - alpha. Here the mean is over B alone, so the same objective has
    weight alpha * multiplier / K, and `ce` weight 1 - alpha.

    Source: Yuan et al. 2020 (Tf-KD, regularisation), arXiv:1909.11723, section 5, and the authors'
    code (yuanli2333/Teacher-free-Knowledge-Distillation).

    Args:
        student_logits: (B, K), any float dtype, K >= 2; computed in float32.
        targets: (B,) class indices, or (B, K) probabilities, which mix virtual teachers.
        correct_probability: of the true class, in (0, 1].
        temperature: > 0; of the virtual teacher alone, hence no factor of its square.

    Returns:
        Scalar in nats, mean over B.

    Raises:
        ValueError: there is one class only, or an argument is out of range.
    """
    num_classes = student_logits.shape[1]
    if num_classes < 2:
        raise ValueError(f"tf_kd: needs at least 2 classes, student logits have {num_classes}.")
    if not 0 < correct_probability <= 1:
        raise ValueError(
            f"tf_kd: correct_probability must be in (0, 1], got {correct_probability}."
        )
    if not temperature > 0:
        raise ValueError(f"tf_kd: temperature must be > 0, got {temperature}.")
    student = wide(student_logits)
    labels = class_probabilities(targets, num_classes)
    rest = (1 - correct_probability) / (num_classes - 1)
    virtual = rest + (correct_probability - rest) * labels.to(student.dtype)
    teacher = F.log_softmax(virtual / temperature, dim=1)
    return kl_divergence(F.log_softmax(student, dim=1), teacher).mean()


class TfKD(Loss):
    """`tf_kd` as a term, at a temperature of its own."""

    uses_teacher: ClassVar[bool] = False
    zero_at_match: ClassVar[bool] = False
    reads_labels: ClassVar[bool] = True

    def __init__(self, weight: float, correct_probability: float, temperature: float) -> None:
        super().__init__(weight)
        if not 0 < correct_probability <= 1:
            raise ValueError(f"correct_probability: must be in (0, 1], got {correct_probability}.")
        if not temperature > 0:
            raise ValueError(f"temperature: must be > 0, got {temperature}.")
        self.correct_probability = correct_probability
        self.temperature = temperature

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted divergence from the virtual teacher."""
        return tf_kd(
            batch.student.logits, batch.targets, self.correct_probability, self.temperature
        )
