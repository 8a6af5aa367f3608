"""What the rules look at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from distill_lab.contracts import Component, Parts
from distill_lab.measure.fidelity import Fidelity
from distill_lab.measure.scores import Scores
from distill_lab.stages.handoffs import (
    ConnectedLoss,
    KnowledgeMap,
    StudentDesign,
    TeacherChoice,
    TrainedStudent,
)
from distill_lab.stages.report_handoff import DISTILLED, Variant
from distill_lab.training.connect import connected_objective

OURS = "distill_lab.models."
ANY = 1000  # stands for the number of samples, which says nothing of whether terms connect


@dataclass(frozen=True)
class Evidence:
    """Of validation and training samples alone: the test split plays no part in a choice.

    Attributes:
        on_train: the student and its teacher, on samples that it was trained on.
        variants: compressed networks; of their numbers, those on validation.
    """

    parts: Parts
    teacher: TeacherChoice
    knowledge: KnowledgeMap
    design: StudentDesign
    loss: ConnectedLoss
    student: TrainedStudent
    on_train: Fidelity
    variants: list[Variant]

    @property
    def kept(self) -> float:
        """Share of the teacher's quality on validation that the student has."""
        return self._share(self.student.scores)

    @property
    def handed_out_kept(self) -> float:
        """The same of what is handed out: the student's last variant, where it is compressed."""
        of_student = [one.validation for one in self.variants if one.of == DISTILLED]
        return self._share([self.student.scores, *of_student][-1])

    def without_memory(self, network: Component) -> nn.Module | None:
        """Make a network of ours on the meta device; None where that cannot be.

        Code of the user's own is not run for a proposal.
        """
        if not network.target.startswith(OURS):
            return None
        try:
            with torch.device("meta"):
                return network.make_network(self.parts.data.info)
        except ValueError:
            return None

    def connects(self, student: nn.Module, teachers: list[nn.Module]) -> bool:
        """Tell whether the loss terms can compare these networks, which are on the meta device."""
        shape = self.parts.data.info.input_shape
        try:
            with torch.device("meta"):
                connected_objective(self.parts.loss, student, teachers, shape, ANY, seed=0)
        except ValueError:
            return False
        return True

    @property
    def teachers_and_students(self) -> tuple[list[nn.Module], list[nn.Module]] | None:
        """Every point of both grids, without memory; None where one cannot be."""
        parts = self.parts
        teachers, students = (
            [net for one in slot if (net := self.without_memory(one)) is not None]
            for slot in (parts.teachers, parts.students)
        )
        whole = (len(teachers), len(students)) == (len(parts.teachers), len(parts.students))
        return (teachers, students) if whole else None

    def _share(self, scores: Scores) -> float:
        return scores.quality / max(self.teacher.best.scores.quality, 1e-9)
