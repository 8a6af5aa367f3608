from __future__ import annotations

import pytest
from scipy.stats import ttest_rel

from distill_lab.report.paired_seeds import against_others

METRIC = "test/accuracy"
BEST, OTHER = [0.91, 0.93, 0.90], [0.90, 0.89, 0.88]


def runs(temperature, values, first_seed=0):
    return [
        {"temperature": temperature, "seed": first_seed + n, METRIC: value}
        for n, value in enumerate(values)
    ]


def test_the_best_setting_is_compared_with_each_other_one_by_seed():
    rows = [*runs(4, BEST), *runs(1, OTHER)]
    (found,) = against_others(rows, ["temperature"], rows[0], METRIC)
    assert (found["temperature"], found["seeds"]) == (1, 3)
    assert found["best minus this"] == pytest.approx((0.01 + 0.04 + 0.02) / 3)
    expected = ttest_rel(BEST, OTHER)
    interval = expected.confidence_interval(0.95)
    assert found["p"] == pytest.approx(expected.pvalue)
    assert (found["low"], found["high"]) == pytest.approx((interval.low, interval.high), abs=1e-6)


def test_runs_are_paired_by_their_seed_and_not_by_their_order():
    rows = [*runs(4, BEST), *reversed(runs(1, OTHER))]
    (found,) = against_others(rows, ["temperature"], rows[0], METRIC)
    assert found["p"] == pytest.approx(ttest_rel(BEST, OTHER).pvalue)


def test_only_seeds_that_both_have_are_compared():
    rows = [*runs(4, BEST), *runs(1, OTHER, first_seed=1)]
    (found,) = against_others(rows, ["temperature"], rows[0], METRIC)
    assert found["seeds"] == 2
    assert found["best minus this"] == pytest.approx((0.93 - 0.90 + 0.90 - 0.89) / 2)


def test_a_setting_with_one_seed_in_common_or_a_failed_run_is_not_compared():
    rows = [*runs(4, BEST), *runs(1, OTHER, first_seed=2), *runs(2, [None, None, None])]
    assert against_others(rows, ["temperature"], rows[0], METRIC) == []
