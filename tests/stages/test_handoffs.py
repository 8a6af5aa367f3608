from __future__ import annotations

import json
from dataclasses import replace

import pytest

from distill_lab.contracts import Component
from distill_lab.measure.cost import Cost
from distill_lab.measure.fidelity import Fidelity
from distill_lab.measure.intervals import Interval
from distill_lab.measure.ranking import Ranking
from distill_lab.measure.scores import Scores
from distill_lab.stages.handoffs import (
    Candidate,
    LayerPair,
    StudentDesign,
    TeacherChoice,
    TrainedStudent,
    Weights,
    from_plain,
    to_plain,
)
from distill_lab.stages.report_handoff import CONTROL, DISTILLED, TEACHER, Goal, Report, Row

COST = Cost(10, 20, 40, 1.0, 2.0, 0.5)
SCORES = Scores(0.9, 0.3, 0.1, 0.02, 0.91, 36)


def test_nested_handoffs_survive_json():
    one = Candidate(
        "B", Component("a.B", {"n": [1, 2]}), 3, Weights("r", "p", "s"), SCORES, COST, 0.8
    )
    choice = TeacherChoice([one, one], 4)
    assert from_plain(TeacherChoice, json.loads(json.dumps(to_plain(choice)))) == choice


def test_rebuilt_parts_are_of_their_own_classes():
    pairs, initial = [LayerPair("x", "y", 0.5)], Weights("run", "path", "hash")
    design = StudentDesign("B", Component("a.B"), COST, pairs, 3, 2, False, initial)
    rebuilt = from_plain(StudentDesign, to_plain(design))
    assert isinstance(rebuilt.pairs[0], LayerPair)
    assert isinstance(rebuilt.cost, Cost)


@pytest.mark.parametrize(
    ("one_named", "said"),
    [(False, "B, 2 of 3 in budget: "), (True, "B, no parameter limit (one student named): ")],
)
def test_a_student_says_what_budget_it_was_held_to(one_named, said):
    headline = StudentDesign("B", Component("a.B"), COST, [], 3, 2, one_named, None).headline
    assert headline == f"{said}10 parameters, 20 MACs"


def test_headlines_name_what_networks_are_compared_by():
    ranked = replace(SCORES, ranking=Ranking(0.2, 0.1, 0.5, None, None))
    for scores, said in ((SCORES, "val accuracy 0.9000"), (ranked, "val NDCG@10 0.1000")):
        one = Candidate("B", Component("a.B"), 3, Weights("r", "p", "s"), scores, COST, 0.8)
        assert TeacherChoice([one], 4).headline == f"B, best of 4: {said}, ECE 0.0200"
        student = TrainedStudent("B", one.architecture, one.weights, scores, 9, 7, 1.0)
        assert student.headline == f"{said}, epoch 7 of 9"


def test_goals_are_met_at_the_limit_in_their_direction():
    assert Goal("kept", 0.95, 0.95, at_least=True).met
    assert not Goal("kept", 0.9499, 0.95, at_least=True).met
    assert Goal("size", 0.4, 0.4, at_least=False).met
    assert not Goal("size", 0.41, 0.4, at_least=False).met


def test_a_gain_of_nothing_is_no_gain():
    assert not Goal("gain", 0.0, 0.0, at_least=True, is_gain=True).met
    assert Goal("gain", 0.001, 0.0, at_least=True, is_gain=True).met


def test_shares_are_written_in_percent_and_gains_in_points():
    kept, size = Goal("kept", 0.9512, 0.95, True), Goal("size", 0.3, 0.4, False)
    gain = Goal("gain", 0.014, 0.0, at_least=True, is_gain=True)
    assert [goal.reached for goal in (kept, size, gain)] == ["95.1%", "30.0%", "+1.4 points"]
    assert [goal.aim for goal in (kept, size, gain)] == [
        "at least 95%",
        "at most 40%",
        "above 0 points",
    ]


def test_an_interval_is_written_in_the_unit_of_its_value():
    kept = Goal("kept", 0.9512, 0.95, True, interval=Interval(0.9, 1.0123))
    gain = Goal("gain", 0.014, 0.0, True, True, Interval(-0.003, 0.031))
    assert [goal.span for goal in (kept, gain)] == ["90.0% to 101.2%", "-0.3 to +3.1"]
    assert Goal("size", 0.3, 0.4, False).span == ""


def test_metrics_and_verdict_are_of_the_same_comparison():
    def row(name, accuracy, parameters, latency_ms):
        scores = Scores(accuracy, 0.1, 0.1, 0.0, accuracy, 4)
        return Row(name, "net", scores, 1.0, 0.0, Cost(parameters, 0, 1, latency_ms, 9.0, 1.0))

    rows = [row(TEACHER, 0.8, 100, 5.0), row(CONTROL, 0.7, 25, 2.0), row(DISTILLED, 0.72, 25, 2.0)]
    metrics = Report(rows, [], [], SCORES, "models:/m-1", 1.5, Fidelity(0.98, 0.01), None).metrics
    assert metrics["test/accuracy_kept"] == pytest.approx(0.9)
    assert metrics["test/gain_over_control"] == pytest.approx(0.02)
    assert metrics["cost/parameters_saved"] == pytest.approx(0.75)
    assert metrics["train/agreement"] == 0.98
    assert metrics["train/kl_to_teacher"] == 0.01
    assert metrics["cost/parameters_teacher"] == 100
    assert metrics["cost/latency_saved"] == pytest.approx(0.6)
    assert metrics["cost/compute_saved"] == 1.0  # a teacher without MACs is no division by zero
    assert (metrics["val/accuracy"], metrics["val/nll"]) == (0.9, 0.3)
    assert "val/ndcg10" not in metrics


def test_places_of_items_are_metrics_of_validation_and_of_each_network():
    def scores(ndcg):
        return replace(SCORES, ranking=Ranking(0.5, ndcg, 0.5, None, 0.25))

    found = {TEACHER: 0.4, CONTROL: 0.2, DISTILLED: 0.3}
    rows = [Row(name, "net", scores(ndcg), 1.0, 0.0, COST) for name, ndcg in found.items()]
    metrics = Report(rows, [], [], scores(0.35), "", 1.5, Fidelity(1.0, 0.0), None).metrics
    assert metrics["val/ndcg10"] == 0.35
    ends = ("", "_control", "_teacher")
    assert [metrics[f"test/ndcg10{end}"] for end in ends] == [0.3, 0.2, 0.4]
    assert metrics["test/hr10_unpopular"] == 0.25
    assert "test/hr10_popular" not in metrics  # there was none
    assert metrics["test/accuracy_kept"] == pytest.approx(0.75)
