from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap, t

from distill_lab.measure.intervals import percentile_interval, resampled_means, t_interval

RIGHT = torch.tensor([True] * 70 + [False] * 30)


def test_the_spread_of_resampled_accuracies_is_that_of_a_binomial():
    means = resampled_means(RIGHT[:, None], 20000, 0)[:, 0]
    assert float(means.mean()) == pytest.approx(0.7, abs=0.002)
    assert float(means.std()) == pytest.approx((0.7 * 0.3 / 100) ** 0.5, rel=0.03)


def test_the_interval_is_scipys_bootstrap():
    values = torch.randn(60, generator=torch.Generator().manual_seed(0)).double()
    found = percentile_interval(resampled_means(values[:, None], 20000, 0)[:, 0])
    expected = bootstrap(
        (values.numpy(),),
        np.mean,
        n_resamples=20000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert found.low == pytest.approx(expected.low, abs=0.01)
    assert found.high == pytest.approx(expected.high, abs=0.01)


def test_columns_are_resampled_together():
    # The second is right where the first one is, and on every other sample beside: always ahead.
    better = RIGHT | (torch.arange(100) % 2 == 0)
    means = resampled_means(torch.stack([RIGHT, better], 1), 1000, 0)
    assert bool((means[:, 1] >= means[:, 0]).all())
    gain = means[:, 1] - means[:, 0]
    # 15 of 100 samples differ, all in one direction: a binomial with p = 0.15.
    assert float(gain.std()) == pytest.approx((0.15 * 0.85 / 100) ** 0.5, rel=0.1)


def test_the_seed_decides_the_draws():
    first = resampled_means(RIGHT[:, None], 50, 3)
    assert torch.equal(resampled_means(RIGHT[:, None], 50, 3), first)
    assert not torch.equal(resampled_means(RIGHT[:, None], 50, 4), first)
    assert resampled_means(RIGHT[:, None], 50, -1).shape == (50, 1)


def test_a_number_that_never_varies_has_an_interval_of_no_width():
    found = percentile_interval(resampled_means(torch.ones(10, 1), 100, 0)[:, 0])
    assert (found.low, found.high) == (1.0, 1.0)


def test_without_samples_there_is_nothing_to_draw():
    with pytest.raises(ValueError, match=r"must be \(N, M\) with N >= 1"):
        resampled_means(torch.ones(0, 2), 100, 0)


def test_the_interval_over_seeds_is_students():
    values = [0.91, 0.93, 0.90, 0.95]
    low, high = t.interval(0.95, 3, np.mean(values), np.std(values, ddof=1) / 2)
    found = t_interval(values)
    assert found.low == pytest.approx(low, abs=1e-6)
    assert found.high == pytest.approx(high, abs=1e-6)
    assert t_interval([0.9]) is None
