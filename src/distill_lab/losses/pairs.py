"""Losses that compare layers: which pairs of taps they read, and features of unequal shape."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_lab.contracts import DistillBatch, Shapes
from distill_lab.losses.base import Loss, Needs
from distill_lab.losses.precision import wide
from distill_lab.losses.regressor import one_each

KINDS = {2: "vectors (B, D)", 3: "tokens (B, L, D)", 4: "maps (B, C, H, W)"}
"""What a feature is, by its number of axes. A tap `:attention` is (B, heads, L, L)."""


class PairLoss(Loss, ABC):
    """A term that compares features of student layers with those of teacher layers.

    Args:
        weight: of the term, >= 0.
        pairs: [student tap, teacher tap] each, or "auto": see `choice`.

    Attributes:
        auto: whether `choose` has to be called before the term can be connected.
        axes: numbers of axes a feature may have, see `KINDS`; equal at both ends of a pair unless
            `mixes_axes`.
        mixes_axes: whether the two ends may differ in their number of axes.
        suffix: what "auto" appends to the path of a layer to name the tap, e.g. ":preactivation".
        choice: what "auto" takes: all of the proposed pairs, the middle one, or instead the last
            layers of both networks.
        fewest: pairs it cannot work without.
        classified: "student", "teacher": whose layers it shows to the network's own classifier.
    """

    axes: ClassVar[tuple[int, ...]] = (2, 3, 4)
    mixes_axes: ClassVar[bool] = False
    suffix: ClassVar[str] = ""
    choice: ClassVar[Literal["all", "middle", "last"]] = "all"
    fewest: ClassVar[int] = 1
    classified: ClassVar[tuple[str, ...]] = ()

    def __init__(self, weight: float, pairs: list[list[str]] | Literal["auto"]) -> None:
        super().__init__(weight)
        if pairs != "auto" and not all(len(pair) == 2 for pair in pairs):
            raise ValueError(f"pairs: must be [student tap, teacher tap] each, got {pairs}.")
        if pairs != "auto" and len(pairs) < self.fewest:
            raise ValueError(f"pairs: must be at least {self.fewest}, got {pairs}.")
        self.auto = pairs == "auto"
        self.pairs = [] if isinstance(pairs, str) else [(first, last) for first, last in pairs]

    @property
    def needs(self) -> Needs:
        """Both ends of every pair."""
        student = tuple(dict.fromkeys(student for student, _ in self.pairs))
        return Needs(student, tuple(dict.fromkeys(teacher for _, teacher in self.pairs)))

    def choose(
        self,
        proposed: Sequence[tuple[str, str]],
        student_shapes: Shapes,
        teacher_shapes: tuple[Shapes, ...],
    ) -> None:
        """Take what "auto" stands for out of proposed pairs of layers, from shallow to deep.

        Args:
            proposed: [student layer, teacher layer], without suffix.
            student_shapes: of the taps, suffix included; a layer that lacks one is passed over.
            teacher_shapes: the same for every teacher.

        Raises:
            ValueError: too few of the pairs can be read.
        """
        named = [(f"{a}{self.suffix}", f"{b}{self.suffix}") for a, b in proposed]
        if self.choice == "last":
            named = list(product(student_shapes, teacher_shapes[0]))
        fitting = [
            (a, b)
            for a, b in named
            if a in student_shapes
            and all(b in shapes for shapes in teacher_shapes)
            and all(self.reads(student_shapes[a], shapes[b]) for shapes in teacher_shapes)
        ]
        if len(fitting) < self.fewest:
            kinds = " or ".join(KINDS[axes] for axes in self.axes)
            raise ValueError(
                f"pairs: auto finds {len(fitting)} of {self.fewest} pairs of layers that are both "
                f"{kinds}{' under ' + self.suffix if self.suffix else ''}. Student: "
                f"{_listed(student_shapes)}; teacher: {_listed(teacher_shapes[0])}. "
                "Name the layers: pairs=[[student tap, teacher tap]]."
            )
        middle = [fitting[len(fitting) // 2]]
        self.pairs = {"all": fitting, "middle": middle, "last": fitting[-1:]}[self.choice]

    def reads(self, student: tuple[int, ...], teacher: tuple[int, ...]) -> bool:
        """Tell whether the term can compare features of these shapes."""
        fits = len(student) in self.axes and len(teacher) in self.axes
        return fits and (self.mixes_axes or len(student) == len(teacher))

    def check_shapes(self, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...]) -> None:
        """Make sure that the features of every pair can be compared; call it in `connect`.

        Raises:
            ValueError: they cannot; names taps and shapes.
        """
        for shapes in teacher_shapes:
            for a, b in self.pairs:
                if not self.reads(student_shapes[a], shapes[b]):
                    kinds = " or ".join(KINDS[axes] for axes in self.axes)
                    raise ValueError(
                        f"pairs: student {a!r} is {student_shapes[a]}, teacher {b!r} is "
                        f"{shapes[b]}; both must be {kinds}. Choose other layers."
                    )

    def connect(
        self, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...], num_samples: int
    ) -> None:
        """Check the pairs; a subclass with regressors builds them after this."""
        self.check_shapes(student_shapes, teacher_shapes)

    def per_pair(
        self,
        student_shapes: Shapes,
        teacher_shapes: tuple[Shapes, ...],
        make: Callable[[tuple[int, ...], tuple[int, ...]], nn.Module],
    ) -> nn.ModuleList:
        """Make a module for each pair, in a list per teacher; see `one_each`.

        Args:
            student_shapes: of the student's taps.
            teacher_shapes: of the taps of every teacher.
            make: shapes of the student's and of the teacher's feature -> module.
        """
        return one_each(
            len(teacher_shapes),
            lambda number: nn.ModuleList(
                make(student_shapes[a], teacher_shapes[number][b]) for a, b in self.pairs
            ),
        )

    def features(self, batch: DistillBatch, teacher: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the student's and the teacher's feature of each pair, the latter a constant."""
        said = batch.teachers[teacher].features
        for a, b in self.pairs:
            yield batch.student.features[a], said[b].detach()


def pooled(feature: Tensor) -> Tensor:
    """Return vectors (B, D) of a feature: maps are averaged over positions, tokens over L.

    >>> pooled(torch.ones(2, 8, 4, 4)).shape, pooled(torch.ones(2, 5, 8)).shape
    (torch.Size([2, 8]), torch.Size([2, 8]))
    """
    if feature.ndim == 3:
        return wide(feature).mean(dim=1)
    return wide(feature).flatten(2).mean(dim=2) if feature.ndim > 3 else wide(feature)


def same_size(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Average-pool the larger of two maps (B, C, H, W) to the size of the smaller, both in float32.

    >>> [tuple(map.shape) for map in same_size(torch.ones(2, 3, 8, 8), torch.ones(2, 5, 4, 4))]
    [(2, 3, 4, 4), (2, 5, 4, 4)]
    """
    height, width = (min(a, b) for a, b in zip(first.shape[2:], second.shape[2:], strict=True))
    return _pooled_to(first, (height, width)), _pooled_to(second, (height, width))


def _pooled_to(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return wide(maps) if maps.shape[2:] == size else F.adaptive_avg_pool2d(wide(maps), size)


def zero(like: Tensor) -> Tensor:
    """Return 0 with a (zero) gradient to a tensor: the value where a batch is too small.

    >>> float(zero(torch.tensor([float("inf"), 1.0])))
    0.0
    """
    return torch.zeros_like(like).mul(like.nan_to_num(0.0, 0.0, 0.0)).sum()


def _listed(shapes: Shapes) -> str:
    return ", ".join(f"{tap} {shape}" for tap, shape in shapes.items())
