"""The weighted sum of named loss terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from distill_lab.contracts import DistillBatch, Extra, LossValue, Shapes
from distill_lab.errors import nearest
from distill_lab.losses.base import Loss, Needs
from distill_lab.losses.weighting import STOP, has_stopped, weight_factor


class Objective(nn.Module):
    """A module of named terms, so that what a term trains is optimised and checkpointed.

    Args:
        terms: by name, in order.
        schedules: term -> factor of its weight in the course of training, see `weight_factor`.

    Attributes:
        scales: term -> a further factor, 1 unless a balance between the terms sets it.
    """

    def __init__(self, terms: dict[str, Loss], schedules: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        if not terms:
            raise ValueError("loss: needs at least one term, e.g. loss=[ce,kd].")
        for name in schedules or {}:
            if name not in terms:
                raise ValueError(f"schedules: there is no term {name!r}.{nearest(name, terms)}")
        if all(STOP in (schedules or {}).get(name, ()) for name in terms):
            raise ValueError("schedules: every term stops, and then nothing is trained.")
        self.terms = nn.ModuleDict(terms)
        self.schedules = dict(schedules or {})
        self.scales = dict.fromkeys(terms, 1.0)

    @property
    def losses(self) -> dict[str, Loss]:
        """The terms by name, in the order they were given."""
        return {name: term for name, term in self.terms.items() if isinstance(term, Loss)}

    @property
    def needs(self) -> Needs:
        """All taps that any term reads, each once, in order."""
        every = [term.needs for term in self.losses.values()]
        student = dict.fromkeys(tap for needs in every for tap in needs.student)
        teacher = dict.fromkeys(tap for needs in every for tap in needs.teacher)
        return Needs(tuple(student), tuple(teacher))

    def connect(
        self, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...], num_samples: int
    ) -> None:
        """Connect every term; see `Loss.connect`.

        Raises:
            ValueError: a term reads a teacher and there is none, or its taps do not fit; names the
                term.
        """
        for name, term in self.losses.items():
            if term.uses_teacher and not teacher_shapes:
                raise ValueError(f"loss.{name}: reads a teacher, but there is none.")
            try:
                term.connect(student_shapes, teacher_shapes, num_samples)
            except ValueError as error:
                raise ValueError(f"loss.{name}: {error}") from error

    def weights(self, epoch: float, num_epochs: int) -> dict[str, float]:
        """Return what each term is multiplied with after so many epochs."""
        return {
            name: term.weight
            * self.scales[name]
            * weight_factor(self.schedules.get(name, {}), epoch, num_epochs)
            for name, term in self.losses.items()
        }

    def running(self, epoch: float) -> dict[str, Loss]:
        """Return the terms that are not stopped after so many epochs; others cost nothing."""
        return {
            name: term
            for name, term in self.losses.items()
            if not has_stopped(self.schedules.get(name, {}), epoch)
        }

    def asks_teachers(self, epoch: float) -> bool:
        """Tell whether a running term reads a teacher."""
        return any(term.uses_teacher for term in self.running(epoch).values())

    def extra_inputs(self, inputs: Tensor, epoch: float = 0.0) -> dict[str, Tensor]:
        """Return the further inputs of running terms that ask for some; see `Loss.extra_inputs`."""
        asked = {name: term.extra_inputs(inputs) for name, term in self.running(epoch).items()}
        return {name: more for name, more in asked.items() if more is not None}

    def values(
        self, batch: DistillBatch, extra: Mapping[str, Extra] | None = None
    ) -> dict[str, Tensor]:
        """Return each running, unweighted term.

        Args:
            batch: of all terms.
            extra: term -> what was said to its `extra_inputs`.
        """
        batches = {name: replace(batch, extra=more) for name, more in (extra or {}).items()}
        running = self.running(batch.epoch)
        return {name: term(batches.get(name, batch)) for name, term in running.items()}

    def total(self, terms: dict[str, Tensor], epoch: float, num_epochs: int) -> LossValue:
        """Return unweighted terms with their weighted sum, and its two parts."""
        losses, weights = self.losses, self.weights(epoch, num_epochs)
        weighted = {name: weights[name] * value for name, value in terms.items()}
        parts: dict[bool, list[Tensor]] = {False: [], True: []}
        for name, value in weighted.items():
            if weights[name] != 0 and value.requires_grad:
                parts[losses[name].uses_teacher].append(value)
        total = torch.stack(list(weighted.values())).sum()
        return LossValue(total, terms, tuple(parts[False]), tuple(parts[True]))

    def forward(self, batch: DistillBatch) -> LossValue:
        """Return the total and each unweighted term."""
        return self.total(self.values(batch), batch.epoch, batch.num_epochs)
