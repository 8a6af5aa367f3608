from __future__ import annotations

import pytest
import torch
from scipy.stats import binomtest

from distill_lab.measure.classes import class_changes, most_changed

# Class a: four samples, the student loses two and wins one. Class b: unchanged. Class c: one won.
TARGETS = torch.tensor([0, 0, 0, 0, 1, 1, 2])
TEACHER = torch.tensor([1, 1, 0, 1, 1, 0, 0]).bool()
CONTROL = torch.tensor([0, 0, 0, 1, 1, 1, 0]).bool()
STUDENT = torch.tensor([0, 0, 1, 1, 0, 1, 1]).bool()
RIGHT = (TEACHER, CONTROL, STUDENT)
NAMES = ["a", "b", "c", "d"]


def test_classes_are_counted_and_the_largest_loss_is_first():
    lost, *_, won = class_changes(TARGETS, RIGHT, NAMES)
    assert (lost.name, lost.num_samples, lost.change) == ("a", 4, -1)
    assert (lost.teacher_right, lost.control_right, lost.student_right) == (3, 1, 2)
    assert (lost.only_teacher, lost.only_student) == (2, 1)
    assert (won.name, won.num_samples, won.change) == ("c", 1, 1)


def test_the_p_value_is_that_of_the_class_alone():
    lost, *_, won = class_changes(TARGETS, RIGHT, NAMES)
    assert lost.p_value == pytest.approx(binomtest(2, 3).pvalue)
    assert won.p_value == pytest.approx(binomtest(1, 1).pvalue)


def test_only_the_most_changed_are_kept():
    targets = torch.arange(3).repeat_interleave(4)
    teacher = torch.tensor([1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]).bool()
    student = torch.tensor([0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0]).bool()
    changes = class_changes(targets, (teacher, teacher, student), NAMES)
    assert [(one.name, one.change) for one in most_changed(changes, 1)] == [("a", -3), ("c", 2)]
    assert [one.name for one in most_changed(changes, 2)] == ["a", "b", "c"]


def test_a_student_that_is_right_where_its_teacher_is_has_changed_nothing():
    changes = class_changes(TARGETS, (TEACHER, CONTROL, TEACHER), NAMES)
    assert {one.change for one in changes} == {0}
    assert most_changed(changes, 5) == []
