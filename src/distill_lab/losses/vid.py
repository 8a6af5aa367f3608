"""Variational information distillation: the student predicts the teacher's features."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_lab.contracts import DistillBatch, Shapes
from distill_lab.losses.pairs import PairLoss, same_size
from distill_lab.losses.precision import wide
from distill_lab.losses.regressor import Regressor

SMALLEST_VARIANCE = 1e-5


def vid(predicted_mean: Tensor, teacher_feature: Tensor, variance: Tensor | float) -> Tensor:
    """Negative log-likelihood of the teacher's feature under a Gaussian, without its constant.

    Source: Ahn et al. 2019, arXiv:1904.05835, the Gaussian with one variance per channel;
    mean over all elements as in RepDistiller.

    Args:
        predicted_mean: (B, C, H, W), (B, L, C) or (B, C), any float dtype; computed in float32.
        teacher_feature: of the same shape, treated as a constant.
        variance: > 0, one number, (C,), or what broadcasts against the feature.

    Returns:
        Scalar in nats per element, mean over all elements; below 0 where variances are below 1.

    Raises:
        ValueError: the shapes differ.
    """
    if predicted_mean.shape != teacher_feature.shape:
        raise ValueError(
            f"vid: the predicted mean is {tuple(predicted_mean.shape)}, the teacher's feature "
            f"{tuple(teacher_feature.shape)}; both must be equal. Regress the student's feature to "
            "the teacher's width and pool maps to one size."
        )
    mean, feature = wide(predicted_mean), wide(teacher_feature.detach())
    spread = torch.as_tensor(variance, dtype=mean.dtype, device=mean.device)
    if spread.ndim == 1 and mean.ndim == 4:
        spread = spread[:, None, None]
    return 0.5 * ((mean - feature) ** 2 / spread + spread.log()).mean()


class VID(PairLoss):
    """`vid` as a term, summed over pairs of layers; with several teachers, the mean over them.

    Three linear layers over channels with ReLU between them predict the mean, and the variance of
    a channel is a parameter. mdistiller leaves the variance out of the optimizer; here it learns.

    Args:
        weight: of the term, >= 0.
        pairs: see `PairLoss`.
        initial_variance: of every channel, > 1e-5, in squared units of the teacher's feature.
    """

    zero_at_match: ClassVar[bool] = False

    def __init__(
        self, weight: float, pairs: list[list[str]] | Literal["auto"], initial_variance: float
    ) -> None:
        super().__init__(weight, pairs)
        if not SMALLEST_VARIANCE < initial_variance < math.inf:
            raise ValueError(
                f"initial_variance: must be > {SMALLEST_VARIANCE} and finite, "
                f"got {initial_variance}."
            )
        self.initial_variance = initial_variance

    def connect(
        self, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...], num_samples: int
    ) -> None:
        """Make a predictor for each pair and teacher."""
        self.check_shapes(student_shapes, teacher_shapes)
        self.predictors = self.per_pair(
            student_shapes, teacher_shapes, lambda a, b: _Predictor(a, b, self.initial_variance)
        )

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted negative log-likelihood of the teachers' features."""
        values = []
        for number, predictors in enumerate(self.predictors):
            pairs = self.features(batch, number)
            for predictor, pair in zip(predictors.children(), pairs, strict=True):
                student, teacher = same_size(*pair) if pair[0].ndim == 4 else pair
                mean, variance = predictor(student)
                values.append(vid(mean, teacher, variance))
        return torch.stack(values).sum() / len(batch.teachers)


class _Predictor(nn.Module):
    """The Gaussian over a teacher's feature, given the student's."""

    def __init__(
        self, student: tuple[int, ...], teacher: tuple[int, ...], initial_variance: float
    ) -> None:
        super().__init__()
        self.mean = nn.Sequential(
            Regressor(student, teacher),
            nn.ReLU(),
            Regressor(teacher, teacher),
            nn.ReLU(),
            Regressor(teacher, teacher),
        )
        excess = initial_variance - SMALLEST_VARIANCE
        before_softplus = excess + math.log(-math.expm1(-excess))
        channels = teacher[1] if len(teacher) == 4 else teacher[-1]
        self.before_softplus = nn.Parameter(torch.full((channels,), before_softplus))

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean, of the teacher's width, and the variance (C,)."""
        return self.mean(feature), F.softplus(self.before_softplus) + SMALLEST_VARIANCE
