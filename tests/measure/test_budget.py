from __future__ import annotations

import pytest

from distill_lab.measure.budget import limits, nearest_miss
from distill_lab.measure.cost import Cost
from distill_lab.settings import Design

DESIGN = {
    "reuse_classifier": False,
    "copy_layers": None,
    "max_parameters_fraction": "auto",
    "max_macs_fraction": None,
    "max_latency_ms": None,
    "max_memory_mib": None,
    "pick": "largest",
    "proxy_epochs": 1,
    "latency_repeats": 1,
}


def cost(parameters=0, macs=0, latency_ms=0.0, peak_memory_mib=0.0):
    return Cost(parameters, macs, 0, latency_ms, 0.0, peak_memory_mib)


def design(**changes):
    return Design(**DESIGN | changes)


TEACHER = cost(parameters=1000, macs=200)


def test_auto_is_forty_percent_of_the_teacher_where_there_is_a_grid():
    budget = limits(design(), TEACHER, has_grid=True)
    assert (budget.parameters, budget.one_named) == (400, False)


def test_auto_is_no_limit_where_the_user_named_one_student():
    budget = limits(design(), TEACHER, has_grid=False)
    assert (budget.parameters, budget.one_named) == (None, True)


@pytest.mark.parametrize("has_grid", [True, False])
def test_fractions_are_of_the_teacher_and_the_rest_is_absolute(has_grid):
    budget = limits(
        design(
            max_parameters_fraction=0.5,
            max_macs_fraction=0.25,
            max_latency_ms=3.0,
            max_memory_mib=7.0,
        ),
        TEACHER,
        has_grid,
    )
    assert (budget.parameters, budget.macs) == (500, 50)
    assert (budget.latency_ms, budget.peak_memory_mib) == (3.0, 7.0)


def test_null_is_no_limit():
    for has_grid in (True, False):
        budget = limits(design(max_parameters_fraction=None), TEACHER, has_grid)
        assert budget.misses(cost(10**12, 10**12, 1e9, 1e9)) == {}
        assert not budget.one_named


def test_the_limit_itself_is_allowed_and_what_exceeds_it_is_given_as_a_ratio():
    budget = limits(design(max_macs_fraction=0.5, max_latency_ms=2.0), TEACHER, has_grid=True)
    assert budget.misses(cost(400, 100, 2.0)) == {}
    assert budget.misses(cost(600, 100, 3.0)) == {"parameters": 1.5, "latency_ms": 1.5}
    assert budget.misses(cost(401, 150)) == {"parameters": 401 / 400, "macs": 1.5}


def test_the_nearest_is_the_one_whose_worst_miss_is_smallest():
    budget = limits(design(max_macs_fraction=0.5), TEACHER, has_grid=True)
    costs = {
        "wide": cost(4000, 100),  # 10 times the parameters
        "even": cost(600, 150),  # 1.5 times both
        "deep": cost(400, 300),  # 3 times the MACs
    }
    text = nearest_miss(costs, budget)
    assert text.startswith("none of the 3 student candidates meets the budget. Nearest: even with")
    assert "parameters 600 where at most 400 are allowed" in text
    assert "macs 150 where at most 100 are allowed" in text
    assert "(1.50 times the limit)" in text
