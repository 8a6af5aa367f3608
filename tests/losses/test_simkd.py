from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from distill_lab.contracts import DistillBatch, Output
from distill_lab.losses.simkd import SimKD, simkd


def term(pairs="auto"):
    return SimKD(weight=1.0, pairs=pairs)


class Reusing(nn.Sequential):
    """Says which of its features are to be those of the teacher."""

    aligned_taps = ("projector", "pool:input")


def batch(student, *teachers):
    ours = Output(torch.zeros(len(student), 2), {"projector": student})
    theirs = tuple(Output(torch.zeros(len(one), 2), {"pool:input": one}) for one in teachers)
    index = torch.arange(len(student))
    return DistillBatch(ours, theirs, index % 2, index, 4.0)


def connected(student, *teachers):
    loss = term()
    loss.see_student(Reusing(), ["encoder.0", "projector"], None)
    shapes = tuple({"pool:input": tuple(teacher.shape)} for teacher in teachers)
    loss.connect({"projector": tuple(student.shape)}, shapes, 10)
    return loss, batch(student, *teachers)


def test_value_by_hand():
    # (1 + 0 + 4 + 9) / 4.
    student, teacher = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[0.0, 2.0], [1.0, 1]])
    assert float(simkd(student, teacher)) == 3.5


def test_the_larger_map_is_averaged_to_the_size_of_the_smaller_as_numpy_does():
    student, teacher = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 2, 2)
    blocks = student.double().numpy().reshape(2, 3, 2, 2, 2, 2).mean(axis=(3, 5))
    expected = np.square(blocks - teacher.double().numpy()).mean()
    assert float(simkd(student, teacher)) == pytest.approx(expected, rel=1e-5)
    assert float(simkd(teacher, student)) == pytest.approx(expected, rel=1e-5)


def test_a_permutation_of_channels_in_both_does_not_matter():
    student, teacher, order = torch.randn(2, 5, 3, 3), torch.randn(2, 5, 3, 3), torch.randperm(5)
    torch.testing.assert_close(simkd(student[:, order], teacher[:, order]), simkd(student, teacher))


def test_zero_when_the_features_are_equal_and_the_gradient_is_the_students():
    teacher = torch.randn(2, 3, requires_grad=True)
    student = torch.randn(2, 3, requires_grad=True)
    assert float(simkd(teacher, teacher).detach()) == 0.0
    simkd(student, teacher).backward()
    torch.testing.assert_close(student.grad, (student - teacher).detach() * 2 / 6)
    assert teacher.grad is None


def test_other_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(2, 4\).*design\.reuse_classifier=true"):
        simkd(torch.zeros(2, 3), torch.zeros(2, 4))


def test_auto_takes_the_taps_that_the_student_says_are_to_be_aligned():
    loss = term()
    loss.see_student(Reusing(), [], None)
    assert (loss.pairs, loss.auto) == ([("projector", "pool:input")], False)


def test_named_pairs_are_kept():
    loss = term([["a", "b"]])
    loss.see_student(Reusing(), [], None)
    assert loss.pairs == [("a", "b")]


def test_a_student_without_the_projector_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"projector .* Set design\.reuse_classifier=true\."):
        term().see_student(nn.Sequential(), ["0"], None)


@pytest.mark.parametrize("axes", [(), (3, 3)])
def test_widths_that_differ_are_refused_with_the_way_out(axes):
    loss = term([["a", "b"]])
    with pytest.raises(ValueError, match=r"'a' is \(2, 4.*'b' is \(2, 6.*reuse_classifier=true"):
        loss.connect({"a": (2, 4, *axes)}, ({"b": (2, 6, *axes)},), 10)


def test_of_several_teachers_the_first_is_read_whose_classifier_the_student_has():
    student, first, second = torch.randn(3, 4), torch.randn(3, 4), torch.randn(3, 9)
    loss, said = connected(student, first, second)
    torch.testing.assert_close(loss(said), simkd(student, first))
