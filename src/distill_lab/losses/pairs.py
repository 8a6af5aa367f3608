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
AS_MAP = ":map"
"""What names a layer's tokens as the map of patches that they are."""


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
    def lays_out_tokens(self) -> bool:
        """Whether "auto" may read tokens that are patches of an image as a map, see `AS_MAP`.

        Not where tokens are read as they are beside maps, and not where a classifier is shown the
        map: that of a network of patches reads its class token.
        """
        return 4 in self.axes and not (self.mixes_axes or self.suffix or self.classified)

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
            student_shapes: of the taps, suffix included; a layer that lacks one is passed over. A
                layer that is there as a map, too, is read as that where it cannot be as it is.
            teacher_shapes: the same for every teacher.

        Raises:
            ValueError: too few of the pairs can be read.
        """
        named = [(f"{a}{self.suffix}", f"{b}{self.suffix}") for a, b in proposed]
        if self.choice == "last":
            named = list(product(_as_they_are(student_shapes), _as_they_are(teacher_shapes[0])))
        found = [self._named(a, b, student_shapes, teacher_shapes) for a, b in named]
        fitting = [pair for pair in found if pair is not None]
        if len(fitting) < self.fewest:
            raise ValueError(
                f"pairs: auto finds {len(fitting)} of {self.fewest} pairs of layers that are both "
                f"{self._kinds}{' under ' + self.suffix if self.suffix else ''}. Student: "
                f"{_listed(student_shapes)}; teacher: {_listed(teacher_shapes[0])}. {self._advice}"
            )
        middle = [fitting[len(fitting) // 2]]
        self.pairs = {"all": fitting, "middle": middle, "last": fitting[-1:]}[self.choice]

    def _named(
        self, a: str, b: str, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...]
    ) -> tuple[str, str] | None:
        """Return the taps of two layers that the term can compare, as they are or as maps."""
        for ours, theirs in product((a, f"{a}{AS_MAP}"), (b, f"{b}{AS_MAP}")):
            there = ours in student_shapes and all(theirs in shapes for shapes in teacher_shapes)
            if there and all(
                self.reads(student_shapes[ours], shapes[theirs]) for shapes in teacher_shapes
            ):
                return ours, theirs
        return None

    def reads(self, student: tuple[int, ...], teacher: tuple[int, ...]) -> bool:
        """Tell whether the term can compare features of these shapes.

        A term over maps of any size compares tokens only if they are as many: otherwise they have
        to be laid out as maps.
        """
        if len(student) not in self.axes or len(teacher) not in self.axes:
            return False
        if self.mixes_axes:
            return True
        as_many = len(student) != 3 or 4 not in self.axes or student[1] == teacher[1]
        return len(student) == len(teacher) and as_many

    def check_shapes(self, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...]) -> None:
        """Make sure that the features of every pair can be compared; call it in `connect`.

        Raises:
            ValueError: they cannot; names taps and shapes.
        """
        for shapes in teacher_shapes:
            for a, b in self.pairs:
                ours, theirs = student_shapes[a], shapes[b]
                if not self.reads(ours, theirs):
                    raise ValueError(
                        f"pairs: student {a!r} is {ours}, teacher {b!r} is {theirs}; both must be "
                        f"{self._kinds}. {self._remedy((a, ours), (b, theirs))}"
                    )

    @property
    def _kinds(self) -> str:
        if self.suffix == ":attention":
            return "attention maps (B, heads, L, L)"
        return " or ".join(KINDS[axes] for axes in self.axes)

    @property
    def _advice(self) -> str:
        """What to do where "auto" finds nothing."""
        if self.suffix in (":attention", ":qkv"):
            return (
                f"Only layers around self-attention show {self.suffix}: take two networks that "
                "have it, or a term over other features."
            )
        if self.classified:
            return "Take networks that average a map for their classifier, which is shown the map."
        if self.suffix or 4 not in self.axes:
            return "Take networks of one kind, or a term over maps and tokens, e.g. fitnet."
        named = "Name the layers: pairs=[[student tap, teacher tap]]"
        return f"{named}, or take a term over pooled features, e.g. rkd."

    def _remedy(self, *ends: tuple[str, tuple[int, ...]]) -> str:
        """What to do where two layers of these taps and shapes cannot be compared."""
        tokens = [tap for tap, shape in ends if len(shape) == 3 and ":" not in tap]
        if self.lays_out_tokens and tokens:
            named = " and ".join(repr(f"{tap}{AS_MAP}") for tap in tokens)
            return f"Patches of an image are maps as {named}; otherwise choose other layers."
        return "Choose other layers."

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


def _as_they_are(shapes: Shapes) -> list[str]:
    return [tap for tap in shapes if not tap.endswith(AS_MAP)]


def _listed(shapes: Shapes) -> str:
    return ", ".join(f"{tap} {shape}" for tap, shape in shapes.items()) or "no layer"
