from __future__ import annotations

import pytest
import torch
from scipy.stats import binomtest, ttest_rel

from distill_lab.measure.paired import mcnemar, paired_t, sign_test


def right_of(both, only_first, only_second, neither):
    counts = torch.tensor([both, only_first, only_second, neither])
    first = torch.tensor([True, True, False, False]).repeat_interleave(counts)
    second = torch.tensor([True, False, True, False]).repeat_interleave(counts)
    return first, second


def test_only_the_samples_on_which_one_is_right_are_counted():
    found = mcnemar(*right_of(both=50, only_first=7, only_second=2, neither=11))
    assert (found.only_first, found.only_second) == (7, 2)
    # Two-sided: 2 (C(9,0) + C(9,1) + C(9,2)) / 2^9.
    assert found.p_value == pytest.approx(2 * (1 + 9 + 36) / 512)
    assert found == mcnemar(*right_of(both=1, only_first=7, only_second=2, neither=0))


@pytest.mark.parametrize(("wins", "losses"), [(1, 0), (5, 4), (12, 30), (0, 9), (700, 612), (6, 6)])
def test_p_values_are_scipys(wins, losses):
    expected = binomtest(wins, wins + losses).pvalue
    assert sign_test(wins, losses) == pytest.approx(expected, rel=1e-9)
    assert sign_test(losses, wins) == pytest.approx(expected, rel=1e-9)


def test_networks_that_answer_alike_are_not_told_apart():
    found = mcnemar(*right_of(both=5, only_first=0, only_second=0, neither=5))
    assert found.p_value == 1.0
    assert not found.tells_apart


@pytest.mark.parametrize(("wins", "told"), [(5, False), (6, True)])
def test_six_wins_in_a_row_are_needed_to_tell_two_apart(wins, told):
    # 2 / 2^5 = 0.0625 and 2 / 2^6 = 0.03125.
    assert mcnemar(*right_of(3, wins, 0, 2)).tells_apart is told


def test_networks_must_have_answered_the_same_samples():
    with pytest.raises(ValueError, match="must both be"):
        mcnemar(torch.ones(3, dtype=torch.bool), torch.ones(4, dtype=torch.bool))


def test_the_test_over_seeds_is_scipys():
    first, second = [0.91, 0.93, 0.90, 0.95], [0.90, 0.93, 0.88, 0.91]
    differences = [a - b for a, b in zip(first, second, strict=True)]
    assert paired_t(differences) == pytest.approx(ttest_rel(first, second).pvalue, rel=1e-9)


@pytest.mark.parametrize("differences", [[], [0.1], [0.0, 0.0, 0.0], [0.5, 0.5]])
def test_without_a_spread_there_is_no_test(differences):
    assert paired_t(differences) is None
