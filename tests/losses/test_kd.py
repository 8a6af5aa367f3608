from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from scipy.special import rel_entr, softmax

from distill_lab.losses.kd import KD, kd

GOLDEN = json.loads((Path(__file__).parent / "golden_kd.json").read_text())


def test_value_of_two_classes_by_hand():
    # Teacher 3/4, 1/4 and student 1/2, 1/2: 3/4 ln(3/2) + 1/4 ln(1/2).
    student = torch.zeros(1, 2)
    teacher = torch.tensor([[math.log(3.0), 0.0]])
    by_hand = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert float(kd(student, teacher, 1.0)) == pytest.approx(by_hand, rel=1e-5)


def test_value_at_a_temperature_by_hand():
    # Logits twice as long at temperature 2 are the same softened outputs; the value grows by 2^2.
    student = torch.zeros(1, 2)
    teacher = torch.tensor([[2 * math.log(3.0), 0.0]])
    by_hand = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert float(kd(student, teacher, 2.0)) == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_agrees_with_the_relative_entropy_of_scipy(temperature):
    student, teacher = 3 * torch.randn(7, 5), 3 * torch.randn(7, 5)
    p = softmax(teacher.double().numpy() / temperature, axis=1)
    q = softmax(student.double().numpy() / temperature, axis=1)
    expected = rel_entr(p, q).sum(axis=1).mean() * temperature**2
    assert float(kd(student, teacher, temperature)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: f"T{case['temperature']:g}")
def test_value_and_gradient_are_those_of_mdistiller(case):
    student = torch.tensor(GOLDEN["student_logits"], requires_grad=True)
    value = kd(student, torch.tensor(GOLDEN["teacher_logits"]), case["temperature"])
    value.backward()
    torch.testing.assert_close(value, torch.tensor(case["value"]), rtol=1e-4, atol=1e-6)
    expected = torch.tensor(case["student_gradient"])
    torch.testing.assert_close(student.grad, expected, rtol=1e-4, atol=1e-6)


def test_gradient_is_temperature_times_the_difference_of_softened_outputs():
    # d/ds of T^2 KL is T (q - p) / B; Hinton et al. 2015, equation 2.
    student, teacher = torch.randn(4, 6, requires_grad=True), torch.randn(4, 6)
    kd(student, teacher, 3.0).backward()
    q, p = torch.softmax(student.detach() / 3, dim=1), torch.softmax(teacher / 3, dim=1)
    torch.testing.assert_close(student.grad, 3.0 * (q - p) / 4)


def test_at_a_high_temperature_the_gradient_is_that_of_matching_centred_logits():
    # Hinton et al. 2015, equation 4: (v - z) / K of zero-mean logits, here over B samples.
    student, teacher = torch.randn(4, 6, requires_grad=True), torch.randn(4, 6)
    kd(student, teacher, 1e3).backward()
    difference = student.detach() - teacher
    centred = difference - difference.mean(dim=1, keepdim=True)
    torch.testing.assert_close(student.grad, centred / 6 / 4, rtol=1e-2, atol=1e-4)


def test_a_constant_added_to_all_logits_of_a_sample_does_not_matter():
    student, teacher = torch.randn(3, 4), torch.randn(3, 4)
    torch.testing.assert_close(kd(student + 5, teacher - 7, 2.0), kd(student, teacher, 2.0))


def test_a_class_that_the_teacher_rules_out_is_no_nan():
    teacher = torch.tensor([[0.0, -1e4]])
    value = kd(torch.zeros(1, 2), teacher, 1.0)
    assert float(value) == pytest.approx(math.log(2), rel=1e-5)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(2, 4\).*same K classes"):
        kd(torch.zeros(2, 3), torch.zeros(2, 4), 1.0)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_temperature_must_be_above_zero(temperature):
    with pytest.raises(ValueError, match=f"temperature must be > 0, got {temperature}"):
        kd(torch.zeros(2, 3), torch.zeros(2, 3), temperature)


def test_term_uses_the_temperature_of_the_batch(batch_of):
    student, teacher = torch.randn(3, 4), torch.randn(3, 4)
    value = KD(weight=0.9)(batch_of(student, teacher, temperature=7.0))
    torch.testing.assert_close(value, kd(student, teacher, 7.0))


def test_several_teachers_count_by_their_mean(batch_of):
    student, first, second = torch.randn(3, 3, 4).unbind()
    value = KD(weight=0.9)(batch_of(student, first, second))
    torch.testing.assert_close(value, (kd(student, first, 4.0) + kd(student, second, 4.0)) / 2)
