"""Each rule fires on its own evidence and on nothing else."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from distill_lab.contracts import Component
from distill_lab.launch import checked
from distill_lab.measure.cost import Cost
from distill_lab.measure.scores import Scores
from distill_lab.stages.handoffs import KnowledgeMap, Term
from distill_lab.stages.proposals import Evidence, propose


def evidence(
    teacher=0.95,
    student=0.95,
    ece=0.01,
    kept_epoch=10,
    in_budget=3,
    suggested=1.0,
    temperature=4.0,
    span=(4.0, 4.0),
    terms=("ce", "kd"),
):
    def scored(accuracy):
        return SimpleNamespace(
            scores=Scores(accuracy, 0.1, 0.1, ece),
            cost=Cost(1000, 1, 1, 1.0, 1.0, 1.0),
            kept_epoch=kept_epoch,
        )

    parts = SimpleNamespace(
        regime=SimpleNamespace(epochs=40, keep="best"),
        temperature=Component("distill_lab.temperature.Constant", {"value": temperature}),
    )
    return Evidence(
        parts=parts,
        teacher=SimpleNamespace(best=scored(teacher)),
        knowledge=KnowledgeMap({}, {}, list(span), {}, []),
        design=SimpleNamespace(
            cost=Cost(300, 1, 1, 1.0, 1.0, 1.0), num_candidates=3, num_in_budget=in_budget
        ),
        loss=SimpleNamespace(terms=[Term(name, 1.0, 1.0, 1.0, suggested) for name in terms]),
        student=scored(student),
        control=scored(student),
    )


def overrides(**changes):
    return [text for proposal in propose(evidence(**changes)) for text in proposal.overrides]


def test_nothing_is_proposed_where_nothing_is_wrong():
    assert overrides() == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"kept_epoch": 39}, ["regime.epochs=80"]),
        ({"student": 0.85, "in_budget": 2}, ["design.max_parameters_fraction=0.8"]),
        ({"suggested": 0.5}, ["loss.ce.weight=0.5", "loss.kd.weight=0.5"]),
        ({"ece": 0.2}, ["loss=[label_smoothing,kd]"]),
        ({"span": (2.0, 8.0)}, ["temperature.value=2"]),
        ({"span": (2.0, 8.0), "temperature": 3.0}, ["temperature.value=8"]),
        ({"span": (2.0, 8.0), "temperature": 20.0}, ["temperature.value=4"]),
    ],
)
def test_each_rule_fires_on_its_own_evidence(changes, expected):
    assert overrides(**changes) == expected


def test_a_small_student_without_larger_candidates_is_not_told_to_grow():
    assert overrides(student=0.85, in_budget=3) == []


def test_temperature_is_not_proposed_without_a_teacher_term():
    assert overrides(span=(8.0, 16.0), terms=("ce",)) == []


def test_proposals_are_sound_overrides_of_the_default_run():
    changes = {"kept_epoch": 39, "student": 0.85, "in_budget": 2, "span": (8.0, 16.0)}
    for proposal in propose(evidence(**changes)):
        assert proposal.why.endswith(".")
        checked(proposal.overrides)
