from __future__ import annotations

from dataclasses import replace

import pytest

from distill_lab.contracts import Component
from distill_lab.measure.cost import Cost
from distill_lab.measure.scores import Scores
from distill_lab.settings import Selection
from distill_lab.stages.handoffs import Candidate, Weights
from distill_lab.stages.s1_teacher import rank


def candidate(name, accuracy, ece=0.0, macs=100):
    scores = Scores(accuracy, nll=0.1, brier=0.1, ece=ece, confidence=accuracy, errors=1)
    cost = Cost(10, macs, 40, 1.0, 1.0, 1.0)
    return Candidate(name, Component(name), 0, Weights("run", "path", "hash"), scores, cost, 0.0)


@pytest.fixture
def selection(regime):
    return Selection(regime(), [0], keep=1, ece_weight=0.1, cost_weight=0.01, from_run=None)


def names(ranked):
    return [each.architecture.target for each in ranked]


def test_higher_accuracy_ranks_first(selection):
    assert names(rank([candidate("a", 0.8), candidate("b", 0.9)], selection)) == ["b", "a"]


def test_at_equal_accuracy_the_better_calibrated_ranks_first(selection):
    tried = [candidate("a", 0.9, ece=0.05), candidate("b", 0.9, ece=0.01)]
    assert names(rank(tried, selection)) == ["b", "a"]


def test_at_equal_accuracy_the_cheaper_ranks_first(selection):
    assert names(rank([candidate("a", 0.9), candidate("b", 0.9, macs=50)], selection)) == ["b", "a"]


def test_score_is_accuracy_less_weighted_ece_and_relative_macs(selection):
    ranked = rank([candidate("a", 0.9, ece=0.2, macs=50), candidate("b", 0.5)], selection)
    assert ranked[0].score == pytest.approx(0.9 - 0.1 * 0.2 - 0.01 * 0.5)


def test_accuracy_outweighs_cost_by_default_order(selection):
    heavy = replace(selection, cost_weight=1.0)
    assert names(rank([candidate("a", 0.9), candidate("b", 0.5, macs=1)], heavy)) == ["b", "a"]
