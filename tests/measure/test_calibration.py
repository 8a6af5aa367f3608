from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve

from distill_lab.measure.calibration import adaptive_ece
from distill_lab.measure.scores import score


def confident(probabilities):
    """Logits of two classes, of which the first has these probabilities."""
    first = torch.as_tensor(probabilities, dtype=torch.float64)
    return torch.stack([first, 1 - first], 1).log()


def test_worked_by_hand():
    # Bins of two: (0.6, 0.7) with one right, (0.8, 0.9) with both.
    logits, targets = confident([0.9, 0.6, 0.8, 0.7]), torch.tensor([0, 1, 0, 0])
    assert adaptive_ece(logits, targets, 2) == pytest.approx((0.15 + 0.15) / 2)


def test_equal_mass_is_that_of_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    sure = 0.5 + 0.499 * torch.rand(600, generator=generator).double().sqrt()
    targets = (torch.rand(600, generator=generator) > 0.8).long()
    accuracy, confidence = calibration_curve(
        (targets == 0).numpy(), sure.numpy(), n_bins=10, strategy="quantile"
    )
    expected = np.abs(accuracy - confidence).mean()  # bins of 60 each
    assert adaptive_ece(confident(sure), targets, 10) == pytest.approx(expected)


def test_one_bin_is_the_distance_of_the_means():
    logits, targets = confident([0.9, 0.6]), torch.tensor([0, 1])
    assert adaptive_ece(logits, targets, 1) == pytest.approx(0.75 - 0.5)


def test_it_finds_an_error_that_bins_of_equal_width_average_away():
    # Both halves lie in the one bin (0.9, 1]: there too sure and not sure enough cancel.
    sure = torch.tensor([0.91] * 50 + [0.99] * 50)
    targets = torch.tensor([0] * 50 + [0] * 45 + [1] * 5)
    logits = confident(sure)
    assert score(logits, targets, 10).ece == pytest.approx(0.0, abs=1e-6)
    assert adaptive_ece(logits, targets, 10) == pytest.approx(0.09, abs=1e-6)


def test_the_order_of_samples_does_not_matter_where_they_are_equally_confident():
    logits = confident([0.8] * 6)
    for targets in ([0, 0, 0, 0, 1, 1], [1, 0, 1, 0, 0, 0]):
        found = adaptive_ece(logits, torch.tensor(targets), 3)
        assert found == pytest.approx(0.8 - 4 / 6)


def test_more_bins_than_samples_are_one_for_each():
    logits, targets = confident([0.9, 0.6]), torch.tensor([0, 1])
    assert adaptive_ece(logits, targets, 15) == pytest.approx((0.1 + 0.6) / 2)


@pytest.mark.parametrize(("count", "num_bins"), [(0, 5), (3, 0)])
def test_no_samples_and_no_bins_are_refused(count, num_bins):
    with pytest.raises(ValueError, match="must be"):
        adaptive_ece(torch.zeros(count, 2), torch.zeros(count, dtype=torch.long), num_bins)
