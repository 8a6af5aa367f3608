"""Confidence-aware distillation of features: weighted by what classifiers read in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import DistillBatch, Output, Shapes
from distill_lab.losses.ca_mkd import confidence_weights
from distill_lab.losses.classifier import classifier_for
from distill_lab.losses.pairs import PairLoss, pooled, same_size
from distill_lab.losses.precision import wide
from distill_lab.losses.regressor import Regressor, one_each


def ca_mkd_features(
    projected: Sequence[Tensor],
    teacher_features: Sequence[Tensor],
    predicted_logits: Tensor,
    targets: Tensor,
) -> Tensor:
    """Squared error from each teacher's feature, weighted by what its classifier makes of ours.

    Source: Zhang et al. 2022, arXiv:2201.00007, the part on features. The authors' code divides by
    M although its weights add up to 1; here it does not.

    Args:
        projected: M tensors, the student's feature in the width of each teacher: (B, C, H, W) or
            (B, D), any float dtype; computed in float32.
        teacher_features: M tensors of the same shapes, treated as constants.
        predicted_logits: (M, B, K), what each teacher's classifier says to the projected feature;
            treated as a constant.
        targets: (B,) class indices or (B, K) probabilities.

    Returns:
        Scalar, mean over B and the elements of a feature; zero iff all features agree.

    Raises:
        ValueError: shapes differ.
    """
    errors = [_errors(*pair) for pair in zip(projected, teacher_features, strict=True)]
    weights = confidence_weights(predicted_logits, targets)
    return (weights * torch.stack(errors)).sum(dim=0).mean()


def _errors(projected: Tensor, teacher: Tensor) -> Tensor:
    """Return (B,) mean squared errors."""
    if projected.shape != teacher.shape:
        raise ValueError(
            f"the projected feature is {tuple(projected.shape)}, the teacher's "
            f"{tuple(teacher.shape)}; both must be equal."
        )
    difference = wide(projected) - wide(teacher.detach())
    return difference.square().flatten(1).mean(dim=1)


class CAMKDFeatures(PairLoss):
    """`ca_mkd_features` as a term: one pair of layers, a 1x1 regressor for each teacher.

    The teacher's layer must be the one before its classifier, which reads the projected feature
    averaged over positions.

    Args:
        weight: of the term, >= 0.
        pairs: one, see `PairLoss`.
    """

    zero_at_match: ClassVar[bool] = False
    reads_labels: ClassVar[bool] = True
    axes: ClassVar[tuple[int, ...]] = (2, 4)
    choice: ClassVar[Literal["all", "middle", "last"]] = "last"
    classified: ClassVar[tuple[str, ...]] = ("teacher",)

    def __init__(self, weight: float, pairs: list[list[str]] | Literal["auto"]) -> None:
        super().__init__(weight, pairs)
        if pairs != "auto" and len(pairs) > 1:
            raise ValueError(f"pairs: must be one, that before the classifiers, got {pairs}.")

    def connect(
        self, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...], num_samples: int
    ) -> None:
        """Make a regressor for each teacher."""
        self.check_shapes(student_shapes, teacher_shapes)
        ((student, teacher),) = self.pairs
        self.regressors = one_each(
            len(teacher_shapes),
            lambda number: Regressor(student_shapes[student], teacher_shapes[number][teacher]),
        )

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted error of the projected features."""
        projected, features, logits = [], [], []
        for number, regressor in enumerate(self.regressors):
            ((student, teacher),) = self.features(batch, number)
            ours = regressor(student)
            logits.append(self._predicted(pooled(ours), batch.teachers[number]))
            ours, teacher = same_size(ours, teacher) if ours.ndim == 4 else (ours, teacher)
            projected.append(ours)
            features.append(teacher)
        return ca_mkd_features(projected, features, torch.stack(logits), batch.targets)

    def _predicted(self, vectors: Tensor, teacher: Output) -> Tensor:
        """Return what the teacher's classifier says to vectors (B, D); a constant."""
        classifier = classifier_for(teacher, self.pairs[0][1])
        with torch.no_grad():
            weight, bias = classifier.weight, classifier.bias
            return F.linear(vectors, weight.to(vectors), None if bias is None else bias.to(vectors))
