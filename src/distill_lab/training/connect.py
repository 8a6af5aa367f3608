"""Loss terms, connected to the shapes of the networks they compare."""

from __future__ import annotations

import torch
from torch import nn

from distill_lab.contracts import Component
from distill_lab.knowledge.taps import check_taps, tap_shapes
from distill_lab.losses.objective import Objective


def connected_objective(
    loss: dict[str, Component],
    student: nn.Module,
    teachers: list[nn.Module],
    input_shape: tuple[int, ...],
    num_samples: int,
    seed: int,
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

    Raises:
        ValueError: a number is out of range, a tap does not exist or does not fit; names the term.
    """
    terms = {}
    for name, component in loss.items():
        try:
            terms[name] = component.make()
        except ValueError as error:
            raise ValueError(f"loss.{name}.{error}") from error
    objective = Objective(terms)
    _check_taps(objective, student, teachers)
    needs = objective.needs
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        objective.connect(
            tap_shapes(student, input_shape, list(needs.student)),
            tuple(tap_shapes(teacher, input_shape, list(needs.teacher)) for teacher in teachers),
            num_samples,
        )
    return objective


def _check_taps(objective: Objective, student: nn.Module, teachers: list[nn.Module]) -> None:
    for name, term in objective.losses.items():
        try:
            check_taps(student, list(term.needs.student))
            for teacher in teachers:
                check_taps(teacher, list(term.needs.teacher))
        except ValueError as error:
            raise ValueError(f"loss.{name}: {error}") from error
