from __future__ import annotations

import json

from distill_lab.contracts import Component
from distill_lab.measure.cost import Cost
from distill_lab.measure.scores import Scores
from distill_lab.stages.handoffs import (
    Candidate,
    Goal,
    LayerPair,
    StudentDesign,
    TeacherChoice,
    Weights,
    from_plain,
    to_plain,
)

COST = Cost(10, 20, 40, 1.0, 2.0, 0.5)
SCORES = Scores(0.9, 0.3, 0.1, 0.02)


def test_nested_handoffs_survive_json():
    one = Candidate(
        "B", Component("a.B", {"n": [1, 2]}), 3, Weights("r", "p", "s"), SCORES, COST, 0.8
    )
    choice = TeacherChoice([one, one], 4)
    assert from_plain(TeacherChoice, json.loads(json.dumps(to_plain(choice)))) == choice


def test_rebuilt_parts_are_of_their_own_classes():
    design = StudentDesign("B", Component("a.B"), COST, [LayerPair("x", "y", 0.5)], 3, 2)
    rebuilt = from_plain(StudentDesign, to_plain(design))
    assert isinstance(rebuilt.pairs[0], LayerPair)
    assert isinstance(rebuilt.cost, Cost)


def test_goals_are_met_at_the_limit_in_their_direction():
    assert Goal("kept", 0.95, 0.95, at_least=True).met
    assert not Goal("kept", 0.9499, 0.95, at_least=True).met
    assert Goal("size", 0.4, 0.4, at_least=False).met
    assert not Goal("size", 0.41, 0.4, at_least=False).met
