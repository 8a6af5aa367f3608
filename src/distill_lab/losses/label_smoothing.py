"""Label smoothing: the teacher-free control a distilled student has to beat."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import DistillBatch
from distill_lab.losses.base import Loss
from distill_lab.losses.labels import as_labels
from distill_lab.losses.precision import wide


def label_smoothing(student_logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy with targets mixed with the uniform distribution.

    Source: Szegedy et al. 2016, arXiv:1512.00567, section 7.

    Args:
        student_logits: (B, K), any float dtype; computed in float32.
        targets: (B,) class indices, or (B, K) probabilities.
        smoothing: share of the uniform distribution, in [0, 1).

    Returns:
        Scalar in nats, mean over B.
    """
    labels = as_labels(targets)
    return F.cross_entropy(wide(student_logits), labels, label_smoothing=smoothing)


class LabelSmoothing(Loss):
    """`label_smoothing` as a term; use it in place of `ce`."""

    uses_teacher: ClassVar[bool] = False
    zero_at_match: ClassVar[bool] = False
    reads_labels: ClassVar[bool] = True

    def __init__(self, weight: float, smoothing: float) -> None:
        super().__init__(weight)
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing: must be in [0, 1), got {smoothing}.")
        self.smoothing = smoothing

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted smoothed cross-entropy."""
        return label_smoothing(batch.student.logits, batch.targets, self.smoothing)
