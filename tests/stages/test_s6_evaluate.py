from __future__ import annotations

from dataclasses import replace

import pytest

from distill_lab.measure.cost import Cost
from distill_lab.measure.ranking import Ranking
from distill_lab.measure.scores import Scores
from distill_lab.settings import Evaluation, Refine
from distill_lab.stages.report_handoff import CONTROL, DISTILLED, TEACHER, Row
from distill_lab.stages.s6_evaluate import judge

COSTS, REFINE = (3, [1], 1.0, 0.0, False), Refine(0, None, 2)
EVALUATION = Evaluation(15, 64, 9, ["noise"], 64, *COSTS, 0.95, 0.70, 0.40, None, REFINE)


def row(name, accuracy, parameters, macs):
    scores = Scores(accuracy, nll=0.1, brier=0.1, ece=0.0, confidence=accuracy, errors=1)
    return Row(name, "net", scores, 1.0, 0.0, Cost(parameters, macs, 1, 1.0, 1.0, 1.0))


def verdict(control=0.85, student=0.9, parameters=30, macs=20):
    rows = [
        row(TEACHER, 0.9, 100, 100),
        row(CONTROL, control, parameters, macs),
        row(DISTILLED, student, parameters, macs),
    ]
    return {goal.name: goal for goal in judge(rows, EVALUATION)}


def test_values_are_those_worked_by_hand():
    goals = verdict(student=0.882)
    assert goals["accuracy kept"].value == pytest.approx(0.98)
    assert goals["compute saved"].value == pytest.approx(0.8)
    assert goals["parameters of the teacher's"].value == pytest.approx(0.3)
    assert goals["gain over the control"].value == pytest.approx(0.032)
    assert all(goal.met for goal in goals.values())


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({"student": 0.80, "control": 0.7}, "accuracy kept"),
        ({"macs": 40}, "compute saved"),
        ({"parameters": 41}, "parameters of the teacher's"),
        ({"control": 0.91}, "gain over the control"),
        ({"control": 0.9}, "gain over the control"),
    ],
)
def test_each_goal_can_be_missed_alone(change, missed):
    assert [name for name, goal in verdict(**change).items() if not goal.met] == [missed]


def test_where_items_are_ranked_the_verdict_is_on_their_places():
    def ranked(name, accuracy, ndcg):
        one = row(name, accuracy, 100, 100)
        found = Ranking(0.9, ndcg, 0.5, None, None)
        return replace(one, scores=replace(one.scores, ranking=found))

    rows = [ranked(TEACHER, 0.1, 0.4), ranked(CONTROL, 0.3, 0.2), ranked(DISTILLED, 0.2, 0.3)]
    goals = {goal.name: goal for goal in judge(rows, EVALUATION)}
    assert goals["NDCG@10 kept"].value == pytest.approx(0.75)
    assert goals["gain over the control"].value == pytest.approx(0.1)
