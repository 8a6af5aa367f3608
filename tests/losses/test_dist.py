from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from distill_lab.losses.dist import DIST, dist, pearson_distance

GOLDEN = json.loads((Path(__file__).parent / "golden_dist.json").read_text())


def probabilities(logits, temperature):
    exps = np.exp(logits.double().numpy() / temperature)
    return exps / exps.sum(axis=1, keepdims=True)


def test_value_of_two_samples_by_hand():
    # Of two classes both rows are perfectly correlated or anti-correlated. Teacher (3/4, 1/4) and
    # (1/4, 3/4); the student agrees on the first and is at odds on the second: inter (0 + 2) / 2.
    # Per class the teacher falls and the student rises from sample 1 to 2: intra 2.
    teacher = torch.tensor([[3.0, 1.0], [1.0, 3.0]]).log()
    student = torch.tensor([[3.0, 2.0], [4.0, 1.0]]).log()
    assert float(dist(student, teacher, 1.0, 1.0, 0.0)) == pytest.approx(1.0, rel=1e-5)
    assert float(dist(student, teacher, 1.0, 0.0, 1.0)) == pytest.approx(2.0, rel=1e-5)


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: f"T{case['temperature']:g}")
def test_value_and_gradient_are_those_of_torchdistill(case):
    student = torch.tensor(GOLDEN["student_logits"], requires_grad=True)
    teacher = torch.tensor(GOLDEN["teacher_logits"])
    value = dist(student, teacher, case["temperature"], case["inter_weight"], case["intra_weight"])
    value.backward()
    torch.testing.assert_close(value, torch.tensor(case["value"]), rtol=1e-4, atol=1e-6)
    expected = torch.tensor(case["student_gradient"])
    torch.testing.assert_close(student.grad, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("shape", [(6, 5), (32, 20)])
def test_agrees_with_the_correlation_of_numpy(temperature, shape):
    student, teacher = 2 * torch.randn(shape), 2 * torch.randn(shape)
    q, p = probabilities(student, temperature), probabilities(teacher, temperature)
    inter = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(q, p, strict=True)])
    intra = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(q.T, p.T, strict=True)])
    value = dist(student, teacher, temperature, 2.0, 3.0)
    expected = (2 * inter + 3 * intra) * temperature**2
    assert value.item() == pytest.approx(expected, rel=1e-4)


def test_classes_that_are_unlikely_everywhere_count_as_well():
    # At logits of this size most of 1000 classes have probabilities below 1e-8.
    torch.manual_seed(0)
    student, teacher = (15 * torch.randn(64, 1000) for _ in range(2))
    columns = zip(probabilities(student, 1).T, probabilities(teacher, 1).T, strict=True)
    expected = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in columns])
    assert float(dist(student, teacher, 1.0, 0.0, 1.0)) == pytest.approx(expected, rel=1e-3)


def test_only_the_relation_between_probabilities_counts():
    # Probabilities moved half-way to uniform differ, but correlate perfectly within and across.
    p = torch.softmax(torch.randn(6, 4), dim=1)
    value = dist((0.5 * p + 0.5 / 4).log(), p.log(), 1.0, 1.0, 1.0)
    assert value.item() == pytest.approx(0.0, abs=1e-5)


def test_exactly_zero_at_match():
    logits = 3 * torch.randn(6, 5)
    assert float(dist(logits, logits, 4.0, 2.0, 2.0)) == 0.0


def test_rows_that_are_constant_in_one_network_are_uncorrelated():
    teacher = torch.randn(4, 3)
    student = torch.full((4, 3), 0.1, requires_grad=True)
    value = dist(student, teacher, 2.0, 1.0, 1.0)
    value.backward()
    assert value.item() == pytest.approx(2 * 2.0**2)
    assert float(student.grad.abs().max()) == 0.0


def test_rows_that_are_constant_in_both_networks_agree():
    assert float(dist(torch.full((4, 3), 0.1), torch.full((4, 3), -7.0), 2.0, 1.0, 1.0)) == 0.0


def test_a_batch_of_one_has_no_relation_between_samples():
    student, teacher = torch.randn(1, 5), torch.randn(1, 5)
    assert float(dist(student, teacher, 1.0, 0.0, 1.0)) == 0.0
    assert float(dist(student, teacher, 1.0, 1.0, 0.0)) > 1e-3


def test_one_class_gives_a_finite_value_and_gradient():
    student = torch.randn(3, 1, requires_grad=True)
    value = dist(student, torch.randn(3, 1), 4.0, 1.0, 1.0)
    value.backward()
    assert value.item() == 0.0
    assert bool(torch.isfinite(student.grad).all())


def test_pearson_distance_of_opposite_rows_is_two():
    rows = torch.randn(3, 8)
    torch.testing.assert_close(pearson_distance(rows, -rows, dim=1), torch.full((3,), 2.0))


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(2, 4\).*same K classes"):
        dist(torch.zeros(2, 3), torch.zeros(2, 4), 1.0, 1.0, 1.0)


@pytest.mark.parametrize("temperature", [0.0, math.nan])
def test_temperature_must_be_above_zero(temperature):
    with pytest.raises(ValueError, match=f"temperature must be > 0, got {temperature}"):
        dist(torch.zeros(2, 3), torch.zeros(2, 3), temperature, 1.0, 1.0)


@pytest.mark.parametrize("name", ["inter_weight", "intra_weight"])
def test_weights_of_the_parts_must_not_be_negative(name):
    with pytest.raises(ValueError, match=f"{name}: must be >= 0, got -1"):
        DIST(**({"weight": 1.0, "inter_weight": 1.0, "intra_weight": 1.0} | {name: -1.0}))


def test_term_passes_the_temperature_of_the_batch_and_both_weights_on(batch_of):
    student, teacher = torch.randn(3, 4), torch.randn(3, 4)
    term = DIST(weight=1.0, inter_weight=2.0, intra_weight=5.0)
    value = term(batch_of(student, teacher, temperature=7.0))
    torch.testing.assert_close(value, dist(student, teacher, 7.0, 2.0, 5.0))
