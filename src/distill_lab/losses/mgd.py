"""Masked generative distillation: from a masked feature, make the teacher's whole one."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_lab.contracts import DistillBatch, Shapes
from distill_lab.losses.pairs import PairLoss, same_size
from distill_lab.losses.precision import wide
from distill_lab.losses.regressor import to_width


def mgd(generated_feature: Tensor, teacher_feature: Tensor) -> Tensor:
    """Mean squared error of the feature that was generated from the student's masked one.

    Source: Yang et al. 2022, arXiv:2205.01529, section 3. The authors' code sums over C, H and W
    where this takes the mean: its weight w is w * C * H * W here.

    Args:
        generated_feature: (B, C, H, W), any float dtype; computed in float32.
        teacher_feature: of the same shape, treated as a constant.

    Returns:
        Scalar, mean over all elements; zero iff the features agree.

    Raises:
        ValueError: the shapes differ.
    """
    if generated_feature.shape != teacher_feature.shape:
        raise ValueError(
            f"mgd: the generated feature is {tuple(generated_feature.shape)}, the teacher's "
            f"{tuple(teacher_feature.shape)}; both must be equal. Regress the student's feature to "
            "the teacher's width and pool maps to one size."
        )
    return F.mse_loss(wide(generated_feature), wide(teacher_feature.detach()))


class MGD(PairLoss):
    """`mgd` as a term, summed over pairs of layers; with several teachers, the mean over them.

    A 1x1 regressor gives the student the teacher's width where it differs, positions are masked,
    and two 3x3 convolutions with a ReLU between them generate. A mask depends on the seed of the
    run and the progress of training alone: a run that is resumed goes on as it would have, and all
    teachers see one mask.

    Args:
        weight: of the term, >= 0.
        pairs: see `PairLoss`.
        mask_fraction: expected share of positions that are masked, in [0, 1).
    """

    zero_at_match: ClassVar[bool] = False
    order_matters: ClassVar[bool] = True
    axes: ClassVar[tuple[int, ...]] = (4,)
    choice: ClassVar[Literal["all", "middle", "last"]] = "last"

    def __init__(
        self, weight: float, pairs: list[list[str]] | Literal["auto"], mask_fraction: float
    ) -> None:
        super().__init__(weight, pairs)
        if not 0 <= mask_fraction < 1:
            raise ValueError(f"mask_fraction: must be in [0, 1), got {mask_fraction}.")
        self.mask_fraction = mask_fraction

    def connect(
        self, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...], num_samples: int
    ) -> None:
        """Make a regressor and a generator for each pair and teacher."""
        self.check_shapes(student_shapes, teacher_shapes)
        self.seed = torch.initial_seed()
        self.generators = self.per_pair(student_shapes, teacher_shapes, _Generator)

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted error of the generated features."""
        values = []
        for number, generators in enumerate(self.generators):
            pairs = zip(generators.children(), self.features(batch, number), strict=True)
            for layer, (generator, pair) in enumerate(pairs):
                student, teacher = same_size(*pair)
                mask = self._mask(student, hash((self.seed, batch.epoch, layer)))
                values.append(mgd(generator(student, mask), teacher))
        return torch.stack(values).sum() / len(batch.teachers)

    def _mask(self, feature: Tensor, seed: int) -> Tensor:
        """Return (B, 1, H, W), False where masked."""
        draws = torch.Generator(feature.device).manual_seed(seed % 2**63)
        shape = (len(feature), 1, *feature.shape[2:])
        return torch.rand(shape, generator=draws, device=feature.device) >= self.mask_fraction


class _Generator(nn.Module):
    def __init__(self, student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
        super().__init__()
        channels = teacher[1]
        self.to_width = to_width(student, teacher)
        self.generation = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, feature: Tensor, mask: Tensor) -> Tensor:
        generated: Tensor = self.generation(self.to_width(wide(feature)) * mask)
        return generated
