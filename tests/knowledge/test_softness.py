from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy as scipy_entropy

from distill_lab.knowledge.softness import entropy, temperature_range, wrong_class_variance

LOGITS = torch.randn(20, 6, generator=torch.Generator().manual_seed(0)) * 4
TARGETS = torch.arange(20) % 6


def test_entropy_of_equal_logits_is_log_of_the_number_of_classes():
    assert entropy(torch.full((3, 8), 2.0), temperature=1.0) == pytest.approx(math.log(8))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_entropy_equals_scipy(temperature):
    expected = scipy_entropy(softmax(LOGITS.double().numpy() / temperature, axis=1), axis=1).mean()
    assert entropy(LOGITS, temperature) == pytest.approx(expected, rel=1e-9)


def test_entropy_is_zero_at_extreme_logits():
    assert entropy(torch.tensor([[1e30, -1e30, 0.0]]), temperature=1.0) == 0


def test_entropy_grows_with_temperature():
    values = [entropy(LOGITS, temperature) for temperature in (0.5, 1.0, 2.0, 8.0)]
    assert values == sorted(values)


def test_wrong_class_variance_worked_by_hand():
    # Probabilities 1/2, 3/8, 1/8; wrong classes 3/8 and 1/8 lie 1/8 from their mean.
    logits = torch.tensor([[0.5, 0.375, 0.125]]).log()
    assert wrong_class_variance(logits, torch.tensor([0]), 1.0) == pytest.approx(1 / 64)


def test_wrong_class_variance_equals_numpy():
    probabilities = softmax(LOGITS.double().numpy() / 3, axis=1)
    rows = zip(probabilities, TARGETS.tolist(), strict=True)
    expected = np.mean([np.var(np.delete(row, target)) for row, target in rows])
    assert wrong_class_variance(LOGITS, TARGETS, 3.0) == pytest.approx(expected, rel=1e-9)


def test_wrong_class_variance_is_zero_when_wrong_classes_are_alike():
    logits = torch.tensor([[5.0, 1.0, 1.0, 1.0]])
    assert wrong_class_variance(logits, torch.tensor([0]), 2.0) == 0


def test_wrong_class_variance_is_zero_for_two_classes():
    assert wrong_class_variance(torch.randn(4, 2), torch.tensor([0, 1, 0, 1]), 1.0) == 0


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature: must be > 0"):
        entropy(LOGITS, temperature)
    with pytest.raises(ValueError, match="temperature: must be > 0"):
        wrong_class_variance(LOGITS, TARGETS, temperature)


def test_range_is_where_the_variance_is_at_least_half_of_its_maximum():
    curve = {1.0: 0.49, 2.0: 0.5, 4.0: 1.0, 8.0: 0.6, 16.0: 0.1}
    assert temperature_range(curve) == (2.0, 8.0)


def test_range_of_a_flat_curve_is_the_whole_scan():
    assert temperature_range({4.0: 0.0, 1.0: 0.0}) == (1.0, 4.0)


def test_range_of_one_peak_is_that_temperature():
    assert temperature_range({1.0: 0.1, 3.0: 1.0, 9.0: 0.2}) == (3.0, 3.0)


def test_an_empty_curve_is_refused():
    with pytest.raises(ValueError, match="curve: must hold at least one"):
        temperature_range({})
