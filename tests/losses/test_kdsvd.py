from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from distill_lab.contracts import DistillBatch, Output
from distill_lab.losses.kdsvd import KDSVD, kdsvd

GOLDEN = json.loads((Path(__file__).parent / "golden_kdsvd.json").read_text())
SIZES = [(4, 6, 6), (5, 4, 4), (6, 3, 3)]


def maps(num=3):
    return [torch.rand(num, *size) ** 3 for size in SIZES]


def relations(layers):
    """Of the first singular vectors, taken as non-negative, of each sample, by numpy."""
    vectors = [
        [np.abs(np.linalg.svd(one.reshape(len(one), -1).T)[2][0]) for one in layer]
        for layer in (layer.double().numpy() for layer in layers)
    ]
    return [
        np.stack([np.exp(-((b[:, None] - a[None]) ** 2) / 8) for a, b in zip(*two, strict=True)])
        for two in pairwise(vectors)
    ]


def test_value_of_one_position_by_hand():
    # One position: the vector is the map's direction, (1, 0) in both networks, then (0.8, 0.6) in
    # the student and (0, 1) in the teacher.
    first, second = torch.tensor([[[[2.0]], [[0.0]]]]), torch.tensor([[[[0.0]], [[5.0]]]])
    near = torch.tensor([[[[4.0]], [[3.0]]]])
    student = np.exp(-np.square(np.array([[0.8 - 1, 0.8], [0.6 - 1, 0.6]])) / 8)
    teacher = np.exp(-np.array([[1.0, 0.0], [0.0, 1.0]]) / 8)
    by_hand = np.square(student - teacher).sum()
    assert float(kdsvd([first, near], [first, second])) == pytest.approx(by_hand, rel=1e-4)


@pytest.mark.parametrize("case", GOLDEN["cases"])
def test_value_and_gradients_are_those_of_repdistiller(case):
    given = {name: torch.tensor(GOLDEN[name]) for name in case["inputs"]}
    for name in case["gradients"]:
        given[name].requires_grad_()
    layers = list(given.values())
    value = kdsvd(layers[:3], layers[3:])
    value.backward()
    torch.testing.assert_close(value, torch.tensor(case["value"]), rtol=1e-4, atol=1e-6)
    for name, gradient in case["gradients"].items():
        torch.testing.assert_close(given[name].grad, torch.tensor(gradient), rtol=1e-4, atol=1e-6)


def test_agrees_with_the_decomposition_of_numpy():
    # Maps >= 0 have a first vector >= 0, the one that is closest to the teacher's.
    student, teacher = maps(), maps()
    expected = sum(
        np.square(a - b).sum(axis=(1, 2)).mean()
        for a, b in zip(relations(student), relations(teacher), strict=True)
    )
    assert float(kdsvd(student, teacher)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("size", [(6, 2, 2), (3, 4, 4)], ids=["more_channels", "more_positions"])
def test_gradient_is_that_of_finite_differences(size):
    student = [torch.randn(2, *size, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    teacher = [torch.randn(2, *size, dtype=torch.float64) for _ in range(2)]
    torch.autograd.gradcheck(lambda *layers: kdsvd(layers, teacher), student, rtol=1e-3, atol=1e-6)


def test_scales_and_signs_of_the_maps_do_not_matter():
    student, teacher = ([torch.randn(2, *size) for size in SIZES] for _ in range(2))
    value = kdsvd([-3 * student[0], *student[1:]], [*teacher[:2], -teacher[2] / 5])
    torch.testing.assert_close(value, kdsvd(student, teacher))


def test_zero_when_student_equals_teacher():
    layers = [torch.randn(2, *size) for size in SIZES]
    assert float(kdsvd(layers, layers)) == pytest.approx(0.0, abs=1e-9)


def test_equal_singular_values_give_a_bounded_gradient():
    student = torch.eye(4).reshape(1, 4, 2, 2).repeat(2, 1, 1, 1).requires_grad_()
    teacher = torch.rand(2, 4, 2, 2)
    kdsvd([student, 2 * student], [teacher, teacher.flip(1)]).backward()
    assert bool(torch.isfinite(student.grad).all())
    assert float(student.grad.abs().max()) < 10


@pytest.mark.parametrize("gap", [1e-2, 1e-4, 1e-6, 1e-8])
def test_nearly_equal_singular_values_do_not_blow_up_the_gradient(gap):
    student = torch.diag(torch.tensor([1 + gap, 1.0, 0.5, 0.1])).reshape(1, 4, 2, 2)
    student = student.requires_grad_()
    teacher = torch.rand(1, 4, 2, 2)
    kdsvd([student, teacher], [teacher, teacher.flip(1)]).backward()
    assert float(student.grad.abs().max()) < 1e4


def test_maps_of_zeros_give_no_gradient():
    student = [torch.zeros(2, *size, requires_grad=True) for size in SIZES]
    value = kdsvd(student, maps(2))
    value.backward()
    assert bool(torch.isfinite(value))
    assert all(float(one.grad.abs().sum()) == 0.0 for one in student)


def test_a_teacher_that_is_zero_everywhere_has_the_value_zero():
    zeros = [torch.zeros(2, *size) for size in SIZES]
    assert float(kdsvd(maps(2), zeros)) == 0.0


def test_layers_must_be_two_or_more_of_equal_width():
    layers = maps()
    with pytest.raises(ValueError, match=r"1 maps of the student, 1 of the.*two or more"):
        kdsvd(layers[:1], layers[:1])
    with pytest.raises(ValueError, match=r"\(3, 4, .*\(3, 5, .*equal width"):
        kdsvd(layers[:2], layers[1:])


def test_term_gives_narrow_layers_a_regressor_and_averages_over_teachers():
    student, *teachers = (dict(zip("ab", maps(), strict=False)) for _ in range(3))
    student["b"] = torch.rand(3, 2, 4, 4)
    loss = KDSVD(weight=1.0, pairs=[["a", "a"], ["b", "b"]])
    shapes = [{tap: tuple(one.shape) for tap, one in net.items()} for net in (student, *teachers)]
    loss.connect(shapes[0], tuple(shapes[1:]), 10)
    outputs = [Output(torch.zeros(3, 2), net) for net in (student, *teachers)]
    index = torch.arange(3)
    value = loss(DistillBatch(outputs[0], tuple(outputs[1:]), index % 2, index, 4.0))
    (identity, regressor), _ = loss.regressors
    assert isinstance(identity, nn.Identity)
    regressed = [student["a"], regressor(student["b"])]
    parts = [kdsvd(regressed, list(teacher.values())) for teacher in teachers]
    torch.testing.assert_close(value, (parts[0] + parts[1]) / 2)
