"""The weighted sum of named loss terms."""

from __future__ import annotations

import torch
from torch import nn

from distill_lab.contracts import DistillBatch, LossValue, Shapes
from distill_lab.losses.base import Loss, Needs


class Objective(nn.Module):
    """A module of named terms, so that what a term trains is optimised and checkpointed."""

    def __init__(self, terms: dict[str, Loss]) -> None:
        super().__init__()
        if not terms:
            raise ValueError("loss: needs at least one term, e.g. loss=[ce,kd].")
        self.terms = nn.ModuleDict(terms)

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

    def forward(self, batch: DistillBatch) -> LossValue:
        """Return the total and each unweighted term."""
        terms = {name: term(batch) for name, term in self.losses.items()}
        weighted = [self.losses[name].weight * value for name, value in terms.items()]
        return LossValue(torch.stack(weighted).sum(), terms)
