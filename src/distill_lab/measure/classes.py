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


def class_changes(
    targets: Tensor, right: tuple[Tensor, Tensor, Tensor], names: list[str], most: int
) -> list[ClassChange]:
    """Return the classes whose number of right samples changed most, the largest loss first.

    Args:
        targets: (N,) class indices.
        right: whether teacher, control and student are right, (N,) bool each.
        names: of the K classes.
        most: how many classes are returned; classes without a change are not.
    """
    teacher, _, student = right
    every = torch.ones_like(teacher)
    chosen = (every, *right, teacher & ~student, student & ~teacher)
    counts = [torch.bincount(targets[one], minlength=len(names)).tolist() for one in chosen]
    of_each = zip(names, *counts, strict=True)
    found = [one for name, *numbers in of_each if (one := ClassChange(name, *numbers)).change]
    largest = sorted(found, key=lambda one: -abs(one.change))[:most]
    return sorted(largest, key=lambda one: one.change)
