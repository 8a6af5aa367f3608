"""Channel-wise distillation: where each channel of a layer is active."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_lab.contracts import DistillBatch, Shapes
from distill_lab.losses.checks import require_maps
from distill_lab.losses.divergence import kl_divergence
from distill_lab.losses.pairs import PairLoss, same_size
from distill_lab.losses.regressor import to_width


def cwd(student_feature: Tensor, teacher_feature: Tensor, temperature: float) -> Tensor:
    """KL(teacher || student) of softmaxes over positions, times temperature squared.

    Source: Shu et al. 2021, ICCV, arXiv:2011.13256, section 3; divided by C * B as in mmrazor.

    Args:
        student_feature: (B, C, H, W), any float dtype; computed in float32.
        teacher_feature: (B, C, H', W'), treated as a constant; the larger of the two is
            average-pooled to the smaller.
        temperature: > 0, no unit; of the maps, not of the logits.

    Returns:
        Scalar in nats, mean over B and C; zero iff the softmaxes agree.

    Raises:
        ValueError: a feature is not a map, batches or widths differ, or the temperature is not
            above 0.
    """
    require_maps("cwd", student_feature, teacher_feature, equal_widths=True)
    if not temperature > 0:
        raise ValueError(f"cwd: temperature must be > 0, got {temperature}.")
    maps = same_size(student_feature, teacher_feature.detach())
    student, teacher = (F.log_softmax(one.flatten(2) / temperature, dim=2) for one in maps)
    divergence = kl_divergence(student, teacher)
    return divergence.mean() * temperature**2


class CWD(PairLoss):
    """`cwd` summed over pairs of layers; with several teachers, the mean over them.

    Where a student's layer has another width than the teacher's, a 1x1 convolution, trained with
    the student, gives it that width; equal layers have none. Auto takes the last pair.

    Args:
        weight: of the term, >= 0.
        pairs: [student tap, teacher tap] each, or "auto".
        temperature: of the maps, > 0.
    """

    axes: ClassVar[tuple[int, ...]] = (4,)
    choice: ClassVar[Literal["all", "middle", "last"]] = "last"

    def __init__(
        self, weight: float, pairs: list[list[str]] | Literal["auto"], temperature: float
    ) -> None:
        super().__init__(weight, pairs)
        if not temperature > 0:
            raise ValueError(f"temperature: must be > 0, got {temperature}.")
        self.temperature = temperature
        self.regressors = nn.ModuleList()

    def connect(
        self, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...], num_samples: int
    ) -> None:
        """Build a regressor for each layer of another width than the teacher's."""
        super().connect(student_shapes, teacher_shapes, num_samples)
        self.regressors = self.per_pair(student_shapes, teacher_shapes, to_width)

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted divergence from the teacher(s)."""
        values = [
            cwd(regressor(student), teacher, self.temperature)
            for number, regressors in enumerate(self.regressors)
            for regressor, (student, teacher) in zip(
                regressors.children(), self.features(batch, number), strict=True
            )
        ]
        return torch.stack(values).sum() / len(self.regressors)
