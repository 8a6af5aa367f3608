"""Factor transfer: the student learns a compressed form of the teacher's features."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_lab.contracts import DistillBatch, Shapes
from distill_lab.losses.batch_norm import BatchNorm
from distill_lab.losses.checks import require_maps
from distill_lab.losses.pairs import PairLoss, same_size, zero
from distill_lab.losses.precision import wide


def ft(student_factor: Tensor, teacher_factor: Tensor) -> Tensor:
    """Mean absolute difference of normalised factors.

    A factor is squared, averaged over channels and brought to length 1, as RepDistiller does
    (p1 = 2, p2 = 1). The paper normalises the factor itself, all channels together.

    Source: Kim, Park, Kwak 2018, arXiv:1802.04977, section 3.3, in RepDistiller's form.

    Args:
        student_factor: (B, C, H, W), any float dtype; computed in float32.
        teacher_factor: (B, D, H', W'), treated as a constant; the larger map is average-pooled to
            the smaller.

    Returns:
        Scalar, mean over B, H and W; zero where the factors agree.

    Raises:
        ValueError: one is no map, or the batches differ.
    """
    require_maps("ft", student_factor, teacher_factor, equal_widths=False)
    student, teacher = same_size(student_factor, teacher_factor.detach())
    return (_normalised(student) - _normalised(teacher)).abs().mean()


def _normalised(factor: Tensor) -> Tensor:
    return F.normalize(factor.square().mean(dim=1).flatten(1))


class FT(PairLoss):
    """`ft` as a term; with several teachers, the mean over them.

    The paraphraser is an auto-encoder of the teacher's map whose code is the teacher's factor; the
    translator makes the student's. During the warm-up the paraphraser learns alone and the student
    gets a gradient of 0 from here. The published code trains it beforehand and then keeps it; here
    it goes on learning, always by its reconstruction alone.

    Args:
        weight: of the term, >= 0.
        pairs: see `PairLoss`.
        rate: channels of a factor over those of the teacher's map, > 0.
        warmup_epochs: >= 0, in which the term is the reconstruction alone.
        reconstruction_weight: of the reconstruction's mean squared error inside the term, > 0. It
            is multiplied by `weight` too: 1 / weight trains the paraphraser by the plain error.
    """

    zero_at_match: ClassVar[bool] = False
    descends: ClassVar[bool] = False
    axes: ClassVar[tuple[int, ...]] = (4,)
    choice: ClassVar[Literal["all", "middle", "last"]] = "last"

    def __init__(
        self,
        weight: float,
        pairs: list[list[str]] | Literal["auto"],
        rate: float,
        warmup_epochs: float,
        reconstruction_weight: float,
    ) -> None:
        super().__init__(weight, pairs)
        if not 0 < rate < math.inf:
            raise ValueError(f"rate: must be > 0 and finite, got {rate}.")
        if not warmup_epochs >= 0:
            raise ValueError(f"warmup_epochs: must be >= 0, got {warmup_epochs}.")
        if not reconstruction_weight > 0:
            raise ValueError(f"reconstruction_weight: must be > 0, got {reconstruction_weight}.")
        self.rate = rate
        self.warmup_epochs = warmup_epochs
        self.reconstruction_weight = reconstruction_weight

    def connect(
        self, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...], num_samples: int
    ) -> None:
        """Make a paraphraser and a translator for each pair and teacher."""
        self.check_shapes(student_shapes, teacher_shapes)
        self.transfers = self.per_pair(
            student_shapes, teacher_shapes, lambda a, b: _Transfer(a[1], b[1], self.rate)
        )

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted distance of factors plus the weighted reconstruction error."""
        warming_up = batch.epoch < self.warmup_epochs
        values = []
        for number, transfers in enumerate(self.transfers):
            pairs = self.features(batch, number)
            for transfer, (student, teacher) in zip(transfers.children(), pairs, strict=True):
                distance, error = transfer(student, wide(teacher), warming_up)
                values.append(distance + self.reconstruction_weight * error)
        return torch.stack(values).sum() / len(batch.teachers)


class _Transfer(nn.Module):
    """Paraphraser (encoder, decoder) of one teacher's map and translator of the student's."""

    def __init__(self, student: int, teacher: int, rate: float) -> None:
        super().__init__()
        factor = max(1, int(rate * teacher))
        self.encoder = nn.Sequential(
            *(_Block(teacher, teacher), _Block(teacher, factor), _Block(factor, factor))
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(factor, factor, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.ConvTranspose2d(factor, teacher, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.ConvTranspose2d(teacher, teacher, 3, padding=1),
        )
        self.translator = nn.Sequential(
            _Block(student, student, normalise=True),
            _Block(student, factor, normalise=True),
            _Block(factor, factor, normalise=True),
        )

    def forward(self, student: Tensor, teacher: Tensor, warming_up: bool) -> tuple[Tensor, Tensor]:
        """Return the distance of factors, 0 in the warm-up, and the reconstruction's error."""
        factor = self.encoder(teacher)
        error = F.mse_loss(wide(self.decoder(factor)), teacher)
        distance = zero(student) if warming_up else ft(self.translator(student), factor)
        return distance, error


class _Block(nn.Module):
    def __init__(self, before: int, after: int, normalise: bool = False) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(before, after, 3, padding=1)
        self.norm = BatchNorm(after) if normalise else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(self.convolution(wide(maps))), 0.1)
