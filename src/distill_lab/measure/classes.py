"""Which classes one network has lost or won against another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from distill_lab.measure.paired import sign_test


@dataclass(frozen=True)
class ClassChange:
    """One class: samples of it that each network has right.

    Attributes:
        only_teacher: samples that the teacher has right and the student wrong.
        only_student: the other way round.
    """

    name: str
    num_samples: int
    teacher_right: int
    control_right: int
    student_right: int
    only_teacher: int
    only_student: int

    @property
    def p_value(self) -> float:
        """Of McNemar's test on the samples of this class alone, see `measure.paired`."""
        return sign_test(self.only_teacher, self.only_student)

    @property
    def change(self) -> int:
        """Samples that the student has right beyond those of the teacher; negative: lost."""
        return self.student_right - self.teacher_right


def num_of_class(targets: Tensor, chosen: Tensor, num_classes: int) -> list[int]:
    """Count the samples of each class among those that are chosen.

    Args:
        targets: (N,) class indices.
        chosen: (N,) bool.
        num_classes: K.
    """
    counts: list[int] = targets[chosen].bincount(minlength=num_classes).tolist()
    return counts


def class_changes(
    targets: Tensor, right: tuple[Tensor, Tensor, Tensor], names: list[str]
) -> list[ClassChange]:
    """Return all classes, the largest loss first, the largest gain last.

    Args:
        targets: (N,) class indices.
        right: whether teacher, control and student are right, (N,) bool each.
        names: of the K classes.
    """
    teacher, _, student = right
    every = torch.ones_like(teacher)
    chosen = (every, *right, teacher & ~student, student & ~teacher)
    counts = [num_of_class(targets, one, len(names)) for one in chosen]
    of_each = zip(names, *counts, strict=True)
    return sorted((ClassChange(*one) for one in of_each), key=lambda one: one.change)


def most_changed(changes: list[ClassChange], most: int) -> list[ClassChange]:
    """Return at most so many of the lost classes and as many of the won, the largest each.

    Args:
        changes: as `class_changes` returns them.
        most: of each kind.
    """
    lost = [one for one in changes if one.change < 0]
    won = [one for one in changes if one.change > 0]
    return [*lost[:most], *won[-most:]]
