from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax

from distill_lab.losses.kd import kd
from distill_lab.losses.mlkd import MLKD, mlkd


def test_value_of_one_sample_by_hand():
    # Teacher 3/4, 1/4, student 1/2, 1/2. Sample with itself: 1/2 against 10/16, squared 1/64.
    # Classes: 1/4 each against 9/16, 3/16, 3/16, 1/16: (25 + 1 + 1 + 9) / 256, divided by K = 2.
    student = torch.zeros(1, 2)
    teacher = torch.tensor([[0.75, 0.25]]).log()
    instance = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    by_hand = instance + 1 / 64 + 36 / 256 / 2
    assert float(mlkd(student, teacher, [1.0])) == pytest.approx(by_hand, rel=1e-5)


def test_agrees_with_numpy():
    student, teacher = 3 * torch.randn(7, 5), 3 * torch.randn(7, 5)
    expected = 0.0
    for temperature in (1.0, 2.0, 6.0):
        p = softmax(teacher.double().numpy() / temperature, axis=1)
        q = softmax(student.double().numpy() / temperature, axis=1)
        expected += rel_entr(p, q).sum(axis=1).mean() * temperature**2
        samples = np.einsum("ik,jk->ij", q, q) - np.einsum("ik,jk->ij", p, p)
        classes = np.einsum("ik,il->kl", q, q) - np.einsum("ik,il->kl", p, p)
        expected += (samples**2).sum() / 7 + (classes**2).sum() / 5
    assert float(mlkd(student, teacher, (1.0, 2.0, 6.0))) == pytest.approx(expected, rel=1e-4)


def test_temperatures_add_up():
    student, teacher = torch.randn(4, 6), torch.randn(4, 6)
    value = mlkd(student, teacher, [2.0, 5.0])
    torch.testing.assert_close(value, mlkd(student, teacher, [2.0]) + mlkd(student, teacher, [5.0]))


def test_every_sample_counts_however_sure_the_teacher_is():
    # The published confidence mask would leave out the sure half, or halve the value.
    teacher = torch.tensor([[9.0, 0.0, 0.0], [0.1, 0.0, 0.0]])
    for row in (0, 1):
        student = teacher.clone()
        student[row] = student[row].flip(0)
        assert float(mlkd(student, teacher, [4.0])) > float(kd(student, teacher, 4.0)) > 0


def test_names_of_the_classes_do_not_matter():
    student, teacher = torch.randn(4, 5), torch.randn(4, 5)
    order = torch.tensor([3, 0, 4, 1, 2])
    value = mlkd(student[:, order], teacher[:, order], [2.0, 4.0])
    torch.testing.assert_close(value, mlkd(student, teacher, [2.0, 4.0]))


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(2, 4\).*same K classes"):
        mlkd(torch.zeros(2, 3), torch.zeros(2, 4), [1.0])


@pytest.mark.parametrize("temperatures", [[], [4.0, 0.0], [math.nan]])
def test_temperatures_must_be_above_zero(temperatures):
    with pytest.raises(ValueError, match="temperatures must be one or more > 0"):
        mlkd(torch.zeros(2, 3), torch.zeros(2, 3), temperatures)
    with pytest.raises(ValueError, match="temperatures: must be one or more > 0"):
        MLKD(weight=1.0, temperatures=temperatures)


def test_term_uses_temperatures_of_its_own(batch_of):
    student, teacher = torch.randn(3, 4), torch.randn(3, 4)
    value = MLKD(weight=0.9, temperatures=[2.0, 3.0])(batch_of(student, teacher, temperature=7.0))
    torch.testing.assert_close(value, mlkd(student, teacher, [2.0, 3.0]))


def test_classes_are_compared_as_well_where_they_are_many():
    # Above, K x K matrices are built; here 5 classes of 2 samples make the other way cheaper.
    student, teacher = (
        torch.randn(2, 5, dtype=torch.float64),
        torch.randn(2, 5, dtype=torch.float64),
    )
    p, q = teacher.softmax(dim=1), student.softmax(dim=1)
    between = sum(
        float((q[:, k] @ q[:, j] - p[:, k] @ p[:, j]) ** 2) for k in range(5) for j in range(5)
    )
    samples = sum(float((q[a] @ q[b] - p[a] @ p[b]) ** 2) for a in range(2) for b in range(2))
    divergence = float((p * (p.log() - q.log())).sum(dim=1).mean())
    expected = divergence + samples / 2 + between / 5
    assert float(mlkd(student, teacher, [1.0])) == pytest.approx(expected)
