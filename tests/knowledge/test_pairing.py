from __future__ import annotations

from itertools import combinations, combinations_with_replacement

import pytest
import torch

from distill_lab.knowledge.pairing import propose_pairs


def names(prefix, count):
    return [f"{prefix}{number}" for number in range(count)]


def test_each_student_tap_gets_its_most_similar_teacher_tap():
    cka = torch.tensor([[0.9, 0.2, 0.1], [0.3, 0.4, 0.8]])
    assert propose_pairs(cka, ["a", "b"], ["x", "y", "z"]) == [
        ("a", "x", pytest.approx(0.9)),
        ("b", "z", pytest.approx(0.8)),
    ]


def test_pairs_never_go_back_in_depth():
    # By itself `a` would choose z and `b` would choose x; in order, x and z have the largest sum.
    cka = torch.tensor([[0.4, 0.2, 0.9], [0.8, 0.1, 0.3]])
    pairs = propose_pairs(cka, ["a", "b"], ["x", "y", "z"])
    assert [teacher for _, teacher, _ in pairs] == ["x", "z"]


def test_layers_that_are_all_most_like_the_first_are_spread_over_the_teacher():
    cka = torch.tensor([[0.99, 0.8, 0.7], [0.9, 0.7, 0.6], [0.8, 0.6, 0.5]])
    pairs = propose_pairs(cka, ["a", "b", "c"], ["x", "y", "z"])
    assert [teacher for _, teacher, _ in pairs] == ["x", "y", "z"]


def test_more_student_taps_than_teacher_taps_share():
    pairs = propose_pairs(torch.tensor([[0.5], [0.6]]), ["a", "b"], ["x"])
    assert [teacher for _, teacher, _ in pairs] == ["x", "x"]


def test_of_equal_teacher_taps_the_shallower_is_taken():
    pairs = propose_pairs(torch.full((2, 3), 0.5), ["a", "b"], ["x", "y", "z"])
    assert [teacher for _, teacher, _ in pairs] == ["x", "y"]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    ("assignments", "rows"), [(combinations, 4), (combinations_with_replacement, 7)]
)
def test_the_sum_is_the_largest_of_all_assignments_in_order(seed, assignments, rows):
    cka = torch.rand(rows, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    best = max(
        sum(cka[row, column].item() for row, column in enumerate(columns))
        for columns in assignments(range(6), rows)
    )
    pairs = propose_pairs(cka, names("s", rows), names("t", 6))
    order = [teacher for _, teacher, _ in pairs]
    assert order == sorted(order)
    assert sum(value for *_, value in pairs) == pytest.approx(best)


@pytest.mark.parametrize("shape", [(2, 2), (0, 2)])
def test_a_matrix_that_does_not_fit_the_names_is_refused(shape):
    with pytest.raises(ValueError, match=r"cka: must be .*\(\d, 2\)"):
        propose_pairs(torch.zeros(shape), names("s", shape[0] and 3), names("t", 2))
