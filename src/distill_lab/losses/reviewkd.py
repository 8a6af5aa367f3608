"""Knowledge review: deep features of the student join in where shallow ones are taught."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_lab.contracts import DistillBatch, Shapes
from distill_lab.losses.batch_norm import BatchNorm
from distill_lab.losses.pairs import PairLoss
from distill_lab.losses.precision import wide
from distill_lab.losses.regressor import one_each

LEVELS = (4, 2, 1)


def reviewkd(student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
    """Hierarchical context loss: squared error of maps, and of maps pooled to 4x4, 2x2 and 1x1.

    Each coarser level counts half as much as the one before; the weights add up to 1. A level that
    is no smaller than the map is left out.

    Source: Chen et al. 2021, arXiv:2104.09044, section 3.3; the weights are those of the authors'
    code (dvlab-research/ReviewKD), which reads the height alone: it differs where a map is wider
    than high.

    Args:
        student_feature: (B, C, H, W), fused and resized; any float dtype; computed in float32.
        teacher_feature: of the same shape, treated as a constant.

    Returns:
        Scalar, mean over all elements of a level; zero iff the maps agree.

    Raises:
        ValueError: the shapes differ or are no maps.
    """
    if student_feature.ndim != 4 or student_feature.shape != teacher_feature.shape:
        raise ValueError(
            f"reviewkd: the student's feature is {tuple(student_feature.shape)}, the teacher's "
            f"{tuple(teacher_feature.shape)}; both must be the same (B, C, H, W). Resize the "
            "student's and give it the teacher's width."
        )
    difference = wide(student_feature) - wide(teacher_feature.detach())
    height, width = difference.shape[2:]
    errors = [difference.square().mean()]
    for level in LEVELS:
        if level < max(height, width):
            size = (min(level, height), min(level, width))
            errors.append(F.adaptive_avg_pool2d(difference, size).square().mean())
    shares = [0.5**level for level in range(len(errors))]
    weighted = [share * error for share, error in zip(shares, errors, strict=True)]
    return torch.stack(weighted).sum() / sum(shares)


class ReviewKD(PairLoss):
    """`reviewkd` as a term, summed over pairs of layers; with several teachers, the mean over them.

    From deep to shallow, the student's feature is fused with what was fused before, and the result
    is compared with the teacher's. A vector (B, C) counts as a 1x1 map: as the last pair, the
    pooled features of the published recipe.

    Args:
        weight: of the term, >= 0.
        pairs: see `PairLoss`; from shallow to deep.
        max_mid_channels: >= 1, of the fused features; no more than the deepest layer has.
        warmup_epochs: >= 1; the value grows to its full size over these, epoch by epoch, the
            running one included.
    """

    zero_at_match: ClassVar[bool] = False
    axes: ClassVar[tuple[int, ...]] = (2, 4)

    def __init__(
        self,
        weight: float,
        pairs: list[list[str]] | Literal["auto"],
        max_mid_channels: int,
        warmup_epochs: int,
    ) -> None:
        super().__init__(weight, pairs)
        if not max_mid_channels >= 1:
            raise ValueError(f"max_mid_channels: must be >= 1, got {max_mid_channels}.")
        if not warmup_epochs >= 1:
            raise ValueError(f"warmup_epochs: must be >= 1, got {warmup_epochs}.")
        self.max_mid_channels = max_mid_channels
        self.warmup_epochs = warmup_epochs

    def connect(
        self, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...], num_samples: int
    ) -> None:
        """Make a fusion for each pair and teacher, the deepest first."""
        self.check_shapes(student_shapes, teacher_shapes)
        deepest, _ = self.pairs[-1]
        middle = min(self.max_mid_channels, student_shapes[deepest][1])
        self.fusions = one_each(
            len(teacher_shapes),
            lambda number: nn.ModuleList(
                _Fusion(student_shapes[a][1], middle, teacher_shapes[number][b][1], fuses=depth > 0)
                for depth, (a, b) in enumerate(reversed(self.pairs))
            ),
        )

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted distance from the teachers' features, grown by the warm-up."""
        values = []
        for number, fusions in enumerate(self.fusions):
            fused = None
            pairs = reversed(list(self.features(batch, number)))
            for fusion, (student, teacher) in zip(fusions.children(), pairs, strict=True):
                target = _as_map(teacher)
                fitted, fused = fusion(_as_map(student), fused, target.shape[2:])
                values.append(reviewkd(fitted, target))
        grown = min((int(batch.epoch) + 1) / self.warmup_epochs, 1.0)
        return grown * torch.stack(values).sum() / len(batch.teachers)


class _Fusion(nn.Module):
    """Attention-based fusion of a student's map with the fused map of the next deeper layer."""

    def __init__(self, student: int, middle: int, teacher: int, fuses: bool) -> None:
        super().__init__()
        self.inward = nn.Conv2d(student, middle, 1, bias=False)
        self.inward_norm = BatchNorm(middle)
        self.attention = nn.Conv2d(2 * middle, 2, 1) if fuses else None
        self.outward = nn.Conv2d(middle, teacher, 3, padding=1, bias=False)
        self.outward_norm = BatchNorm(teacher)
        for convolution in (self.inward, self.outward):
            nn.init.kaiming_uniform_(convolution.weight, a=1)

    def forward(
        self, maps: Tensor, deeper: Tensor | None, size: torch.Size
    ) -> tuple[Tensor, Tensor]:
        """Return the map in the teacher's width and size, and the fused one for the next layer."""
        fused: Tensor = self.inward_norm(self.inward(wide(maps)))
        if self.attention is not None and deeper is not None:
            deeper = F.interpolate(deeper, fused.shape[2:], mode="nearest")
            shares = self.attention(torch.cat([fused, deeper], dim=1)).sigmoid()
            fused = fused * shares[:, :1] + deeper * shares[:, 1:]
        if fused.shape[2:] != size:
            fused = F.interpolate(fused, size, mode="nearest")
        return self.outward_norm(self.outward(fused)), fused


def _as_map(feature: Tensor) -> Tensor:
    return feature[..., None, None] if feature.ndim == 2 else feature
