"""Singular vectors of features: what a layer is about, and how that turns into the next layer's."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from distill_lab.contracts import DistillBatch, Shapes
from distill_lab.losses.checks import require_maps
from distill_lab.losses.pairs import PairLoss
from distill_lab.losses.precision import full_precision, wide
from distill_lab.losses.regressor import to_width

NUM_CANDIDATES = 4
SMALLEST_GAP = 1e-4
TINY = 1e-12


@full_precision()
def kdsvd(student_features: Sequence[Tensor], teacher_features: Sequence[Tensor]) -> Tensor:
    """Squared difference of radial-basis relations between singular vectors of successive layers.

    A map is a matrix of positions by channels. The teacher's vector is the first right singular
    one; the student's is the one of its first four that is closest to it, with its sign. The
    relation of two successive layers holds exp(-(v_c - v_d)^2 / 8) for each channel c of one and d
    of the other.

    Source: Lee, Kim, Song 2018, ECCV, arXiv:1807.06819, as in RepDistiller's KDSVD with k = 1
    (mdistiller's decomposes matrices of C * H by W). Three repairs: the teacher's vectors, whose
    sign a decomposition leaves open, have a sum >= 0; the gradient is damped where singular
    values are nearly equal, where theirs grows without bound; maps need not be square.

    Args:
        student_features: maps (B, C, H, W) from shallow to deep, any float dtype; computed in
            float32.
        teacher_features: as many maps of the same C, treated as constants.

    Returns:
        Scalar, summed over channels and successive layers, mean over B; zero if the maps agree. A
        layer where the teacher's map is zero has a vector of zeros in both.

    Raises:
        ValueError: fewer than two layers, or one gives no maps, or batches or widths differ.
    """
    if len(student_features) < 2 or len(student_features) != len(teacher_features):
        raise ValueError(
            f"kdsvd: there are {len(student_features)} maps of the student, "
            f"{len(teacher_features)} of the teacher; both must be as many, two or more."
        )
    students, teachers = [], []
    for student_feature, teacher_feature in zip(student_features, teacher_features, strict=True):
        require_maps("kdsvd", student_feature, teacher_feature, equal_widths=True)
        teacher = _teacher_vector(teacher_feature.detach())
        students.append(_closest(_singular_vectors(student_feature, NUM_CANDIDATES), teacher))
        teachers.append(teacher)
    differences = [
        _relation(*student) - _relation(*teacher)
        for student, teacher in zip(pairwise(students), pairwise(teachers), strict=True)
    ]
    return torch.stack([d.square().sum(dim=(1, 2)).mean() for d in differences]).sum()


def _teacher_vector(maps: Tensor) -> Tensor:
    vector = _singular_vectors(maps, 1)[:, 0]
    sign = torch.where(vector.sum(dim=1, keepdim=True) < 0, -1.0, 1.0)
    active = maps.flatten(1).any(dim=1, keepdim=True)
    return vector * sign * active


def _closest(candidates: Tensor, teacher: Tensor) -> Tensor:
    cosine = (candidates.detach() @ teacher[:, :, None].to(candidates.dtype)).squeeze(2)
    index = cosine.abs().argmax(dim=1, keepdim=True)  # (B, 1)
    sign = cosine.gather(1, index).sign()  # 0 where the teacher's vector is
    width = candidates.shape[2]
    return candidates.gather(1, index[:, :, None].expand(-1, 1, width)).squeeze(1) * sign


def _relation(early: Tensor, late: Tensor) -> Tensor:
    return torch.exp(-(late[:, :, None] - early[:, None, :]).square() / 8)


def _singular_vectors(maps: Tensor, most: int) -> Tensor:
    matrix = wide(maps).flatten(2).transpose(1, 2)  # (B, H * W, C)
    vectors: Tensor = _RightSingularVectors.apply(matrix, most)
    return vectors


class _RightSingularVectors(torch.autograd.Function):
    """The first right singular vectors (B, n, C) of matrices (B, L, C), n <= `most`.

    Vector i is an eigenvector of X^T X, so it moves by the pseudo-inverse of (s_i^2 - X^T X) times
    the change of X^T X times the vector. Of that inverse, 1 / gap is replaced by gap / (gap^2 +
    e^2), which is exact to (e / gap)^2 and 0 at no gap; gaps are measured in s_1^2.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, most: int) -> Tensor:
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        ctx.save_for_backward(left, values, right)
        return right[:, :most].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        left, values, right = ctx.saved_tensors
        num = gradient.shape[1]
        largest = values[:, :1].clamp_min(TINY)
        ratios = values / largest
        own = ratios[:, :num, None]
        inside = gradient @ right.transpose(1, 2)  # (B, n, r), along the singular vectors
        outside = gradient - inside @ right
        moved = inside * _damped(own.square() - ratios[:, None].square())
        full = moved @ right + outside * _damped(own.square())
        first = left[:, :, :num] @ (own * full)
        second = (left * ratios[:, None]) @ moved.transpose(1, 2) @ right[:, :num]
        return (first + second) / largest[:, :, None], None


def _damped(gap: Tensor) -> Tensor:
    return gap / (gap.square() + SMALLEST_GAP**2)


class KDSVD(PairLoss):
    """`kdsvd` over all pairs, from shallow to deep; with several teachers, the mean over them.

    Where a student's layer has another width than the teacher's, a 1x1 convolution, trained with
    the student, gives it that width; equal layers have none.
    """

    axes: ClassVar[tuple[int, ...]] = (4,)
    fewest: ClassVar[int] = 2

    def __init__(self, weight: float, pairs: list[list[str]] | Literal["auto"]) -> None:
        super().__init__(weight, pairs)
        self.regressors = nn.ModuleList()

    def connect(
        self, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...], num_samples: int
    ) -> None:
        """Build a regressor for each layer of another width than the teacher's."""
        super().connect(student_shapes, teacher_shapes, num_samples)
        self.regressors = self.per_pair(student_shapes, teacher_shapes, to_width)

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted distance from the teacher(s)."""
        values = []
        for number, regressors in enumerate(self.regressors):
            students, teachers = zip(*self.features(batch, number), strict=True)
            regressed = [
                one(student) for one, student in zip(regressors.children(), students, strict=True)
            ]
            values.append(kdsvd(regressed, teachers))
        return torch.stack(values).mean()
