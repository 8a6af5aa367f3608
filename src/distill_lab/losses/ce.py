"""Cross-entropy with the labels: the task's own loss."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import DistillBatch
from distill_lab.losses.base import Loss
from distill_lab.losses.labels import as_labels
from distill_lab.losses.precision import wide


def ce(student_logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of the student's softmax with the targets.

    Args:
        student_logits: (B, K), any float dtype; computed in float32.
        targets: (B,) class indices, or (B, K) probabilities (mixed labels).

    Returns:
        Scalar in nats, mean over B.
    """
    return F.cross_entropy(wide(student_logits), as_labels(targets))


class CE(Loss):
    """`ce` as a term; the temperature plays no part."""

    uses_teacher: ClassVar[bool] = False
    zero_at_match: ClassVar[bool] = False
    reads_labels: ClassVar[bool] = True

    def __init__(self, weight: float) -> None:
        super().__init__(weight)

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted cross-entropy."""
        return ce(batch.student.logits, batch.targets)
