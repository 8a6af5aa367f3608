from __future__ import annotations

import math

import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy
from torch.nn.functional import one_hot

from distill_lab.measure.fidelity import agreement, independent_agreement, kl_to_teacher

STUDENT = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
TEACHER = torch.randn(40, 5, generator=torch.Generator().manual_seed(1)) * 3


def test_agreement_counts_equal_top_classes():
    student = torch.tensor([[2.0, 1.0], [2.0, 1.0], [0.0, 1.0], [5.0, 0.0]])
    teacher = torch.tensor([[9.0, 0.0], [0.0, 9.0], [0.0, 9.0], [9.0, 0.0]])
    assert agreement(student, teacher) == 0.75


def test_full_agreement_and_zero_kl_when_student_equals_teacher():
    assert agreement(TEACHER, TEACHER) == 1.0
    assert kl_to_teacher(TEACHER, TEACHER + 3) == pytest.approx(0.0, abs=1e-12)


def test_kl_worked_by_hand():
    # Teacher (3/4, 1/4), student (1/2, 1/2): 3/4 log 3/2 + 1/4 log 1/2.
    teacher, student = torch.tensor([[3.0, 1.0]]).log(), torch.zeros(1, 2)
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert kl_to_teacher(student, teacher) == pytest.approx(expected)


def test_kl_equals_scipy_with_the_teacher_first():
    student, teacher = (softmax(x.double().numpy(), axis=1) for x in (STUDENT, TEACHER))
    expected = entropy(teacher, student, axis=1).mean()
    assert kl_to_teacher(STUDENT, TEACHER) == pytest.approx(expected, rel=1e-9)


def test_kl_is_finite_at_extreme_logits():
    far = torch.tensor([[1e30, -1e30]])
    assert math.isfinite(kl_to_teacher(far, -far))
    assert kl_to_teacher(far, far) == 0


@pytest.mark.parametrize("function", [agreement, kl_to_teacher])
def test_different_shapes_and_no_samples_are_refused(function):
    with pytest.raises(ValueError, match=r"must both be \(N, K\)"):
        function(torch.zeros(3, 2), torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"must both be \(N, K\)"):
        function(torch.zeros(0, 2), torch.zeros(0, 2))


@pytest.mark.parametrize(
    ("first", "second", "num_classes", "expected"),
    [
        (1.0, 1.0, 10, 1.0),
        (1.0, 0.7, 10, 0.7),
        (0.0, 0.0, 2, 1.0),  # two classes: both are wrong in the same way
        (0.1, 0.1, 10, 0.1),  # two that guess
    ],
)
def test_agreement_of_independent_networks_worked_by_hand(first, second, num_classes, expected):
    assert independent_agreement(first, second, num_classes) == pytest.approx(expected)


def test_networks_that_err_by_chance_agree_as_often_as_is_said():
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(5, (200_000,), generator=generator)

    def answers(accuracy):
        wrong = (targets + torch.randint(1, 5, targets.shape, generator=generator)) % 5
        right = torch.rand(targets.shape, generator=generator) < accuracy
        return one_hot(torch.where(right, targets, wrong), 5).float()

    found = agreement(answers(0.8), answers(0.6))
    assert found == pytest.approx(independent_agreement(0.8, 0.6, 5), abs=0.004)
