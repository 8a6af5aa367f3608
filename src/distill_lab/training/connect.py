"""Loss terms, connected to the layers and shapes of the networks they compare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from distill_lab.contracts import Component, Shapes
from distill_lab.knowledge.taps import classifier_of, default_taps, tap_shapes
from distill_lab.losses.base import Loss
from distill_lab.losses.classifier import readable
from distill_lab.losses.objective import Objective
from distill_lab.losses.pairs import AS_MAP, PairLoss

Pairs = Sequence[tuple[str, str]]
"""(student layer, teacher layer), from shallow to deep."""


def connected_objective(
    loss: dict[str, Component],
    student: nn.Module,
    teachers: list[nn.Module],
    input_shape: tuple[int, ...],
    num_samples: int,
    seed: int,
    schedules: Mapping[str, Any] | None = None,
    proposed: Pairs = (),
) -> Objective:
    """Make and connect the objective; first weights of regressors depend on the seed alone.

    Works on meta networks too, so that a wrong tap is found before anything is trained.

    Args:
        loss: term name -> loss.
        student: the network to be trained.
        teachers: the networks it learns from; may be empty.
        input_shape: of one input, no batch axis.
        num_samples: N of the training split.
        seed: of what the terms build.
        schedules: of the terms' weights, see `Objective`.
        proposed: layers for terms with `pairs: auto`. Where a term can read none of them, and
            without any, layers of the same kind are paired by their depth.

    Raises:
        ValueError: a number is out of range, a tap does not exist or does not fit; names the term.
    """
    objective = Objective(made_terms(loss), schedules)
    student_shapes: Shapes = {}
    teacher_shapes: tuple[Shapes, ...] = tuple({} for _ in teachers)
    layers, classifier = default_taps(student), classifier_of(student)
    for name, term in objective.losses.items():
        try:
            with _drawn_by(seed):
                term.see_student(student, layers, classifier)
            if isinstance(term, PairLoss) and term.auto and teachers:
                ours, theirs = _choose(term, student, teachers, input_shape, proposed)
            else:
                ours = tap_shapes(student, input_shape, list(term.needs.student))
                taps = list(term.needs.teacher)
                theirs = tuple(tap_shapes(teacher, input_shape, taps) for teacher in teachers)
        except ValueError as error:
            raise ValueError(f"loss.{name}: {error}") from error
        student_shapes |= ours
        for known, found in zip(teacher_shapes, theirs, strict=True):
            known |= found
    with _drawn_by(seed):
        objective.connect(student_shapes, teacher_shapes, num_samples)
    _require_readable(
        objective, (student, student_shapes), [*zip(teachers, teacher_shapes, strict=True)]
    )
    return objective


@contextmanager
def _drawn_by(seed: int) -> Iterator[None]:
    """Let random numbers inside depend on the seed alone, and those outside not on the inside."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def made_terms(loss: dict[str, Component]) -> dict[str, Loss]:
    """Make the terms.

    Raises:
        ValueError: a number is out of range; names the term.
    """
    terms = {}
    for name, component in loss.items():
        try:
            terms[name] = component.make()
        except ValueError as error:
            raise ValueError(f"loss.{name}.{error}") from error
    return terms


def with_pairs(
    loss: dict[str, Component], pairs: Mapping[str, list[list[str]]]
) -> dict[str, Component]:
    """Return the terms with the pairs of layers that "auto" stood for.

    Args:
        loss: term name -> loss.
        pairs: of some of the terms.
    """
    named = {name: loss[name].args | {"pairs": chosen} for name, chosen in pairs.items()}
    return loss | {name: replace(loss[name], args=args) for name, args in named.items()}


def _choose(
    term: PairLoss,
    student: nn.Module,
    teachers: list[nn.Module],
    input_shape: tuple[int, ...],
    proposed: Pairs,
) -> tuple[Shapes, tuple[Shapes, ...]]:
    """Let a term choose among proposed pairs, or else among layers paired by depth.

    Returns:
        Shapes of all that it could choose from, of the student and of every teacher.
    """

    def shapes(net: nn.Module) -> Shapes:
        kinds = ["", AS_MAP] if term.lays_out_tokens else [term.suffix]
        taps = [f"{tap}{kind}" for tap in default_taps(net) for kind in kinds]
        return tap_shapes(net, input_shape, taps, pass_over=True)

    ours, theirs = shapes(student), tuple(map(shapes, teachers))
    try:
        term.choose(proposed, ours, theirs)
    except ValueError:
        first, *others = theirs
        known = [tap for tap in first if all(tap in other for other in others)]
        pairs = by_depth(_of_kind(ours, list(ours), term), _of_kind(first, known, term))
        term.choose(pairs, ours, theirs)
    return ours, theirs


def _require_readable(
    objective: Objective,
    student: tuple[nn.Module, Shapes],
    teachers: list[tuple[nn.Module, Shapes]],
) -> None:
    """Hold the layers that a term shows to a network's classifier against what that one reads."""
    for name, term in objective.losses.items():
        classified = term.classified if isinstance(term, PairLoss) else ()
        ours = [(student, term.needs.student)] if "student" in classified else []
        theirs = [(teacher, term.needs.teacher) for teacher in teachers if "teacher" in classified]
        for (net, shapes), taps in (*ours, *theirs):
            for tap in taps:
                try:
                    readable(classifier_of(net), tap, shapes[tap][1])
                except ValueError as error:
                    raise ValueError(f"loss.{name}: {error}") from error


def _of_kind(shapes: Shapes, taps: Sequence[str], term: PairLoss) -> list[str]:
    """Return the layers, without suffix, whose features a term reads, as they are or as maps."""
    readable = [tap for tap in taps if len(shapes[tap]) in term.axes]
    return list(dict.fromkeys(tap.partition(":")[0] for tap in readable))


def by_depth(student: Sequence[str], teacher: Sequence[str]) -> list[tuple[str, str]]:
    """Pair each student layer with the teacher layer that is as deep, relative to the networks.

    >>> by_depth(["a", "b"], ["1", "2", "3"])
    [('a', '1'), ('b', '3')]
    """
    if not student or not teacher:
        return []
    steps = max(len(student) - 1, 1)
    deepest = len(teacher) - 1
    places = [round(number * deepest / steps) for number in range(len(student))]
    return [(tap, teacher[place]) for tap, place in zip(student, places, strict=True)]
