"""Each rule fires on its own evidence and on nothing else."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from distill_lab.contracts import Component
from distill_lab.launch import checked
from distill_lab.measure.cost import Cost
from distill_lab.measure.scores import Scores
from distill_lab.refine import merged
from distill_lab.stages.handoffs import KnowledgeMap, Term
from distill_lab.stages.proposals import Evidence, propose

LOSSES = {
    "ce": "distill_lab.losses.ce.CE",
    "kd": "distill_lab.losses.kd.KD",
    "label_smoothing": "distill_lab.losses.label_smoothing.LabelSmoothing",
}


def evidence(
    teacher=0.95,
    student=0.95,
    confidence=0.95,
    kept_epoch=10,
    in_budget=3,
    suggested=1.0,
    temperature=4.0,
    span=(4.0, 4.0),
    scan=(1.0, 16.0),
    limit="auto",
    terms=("ce", "kd"),
):
    def scored(accuracy):
        return SimpleNamespace(
            scores=Scores(accuracy, 0.1, 0.1, 0.2, confidence, 1),
            cost=Cost(1000, 1, 1, 1.0, 1.0, 1.0),
            kept_epoch=kept_epoch,
        )

    parts = SimpleNamespace(
        regime=SimpleNamespace(epochs=40, keep="best"),
        design=SimpleNamespace(max_parameters_fraction=limit),
        loss={name: Component(LOSSES[name], {"weight": 0.25}) for name in terms},
        temperature=Component("distill_lab.temperature.Constant", {"value": temperature}),
    )
    return Evidence(
        parts=parts,
        teacher=SimpleNamespace(best=scored(teacher)),
        knowledge=KnowledgeMap({f"{t:g}": 1.0 for t in scan}, {}, list(span), {}, []),
        design=SimpleNamespace(
            cost=Cost(300, 1, 1, 1.0, 1.0, 1.0), num_candidates=3, num_in_budget=in_budget
        ),
        loss=SimpleNamespace(
            terms=[Term(name, 1.0, 1.0, 1.0, suggested, name == "kd") for name in terms]
        ),
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
        (
            {"student": 0.85, "confidence": 0.85, "in_budget": 2},
            ["design.max_parameters_fraction=0.8"],
        ),
        (
            {"student": 0.85, "confidence": 0.85, "in_budget": 2, "limit": 0.9},
            ["design.max_parameters_fraction=1"],
        ),
        ({"suggested": 0.5}, ["loss.ce.weight=0.5", "loss.kd.weight=0.5"]),
        (
            {"student": 0.94, "confidence": 0.995},
            ["loss=[label_smoothing,kd]", "loss.label_smoothing.weight=0.25"],
        ),
        ({"span": (2.0, 8.0)}, ["temperature.value=2"]),
        ({"span": (2.0, 8.0), "temperature": 3.0}, ["temperature.value=8"]),
        ({"span": (2.0, 8.0), "temperature": 20.0}, ["temperature.value=4"]),
    ],
)
def test_each_rule_fires_on_its_own_evidence(changes, expected):
    assert overrides(**changes) == expected


def test_a_small_student_without_larger_candidates_is_not_told_to_grow():
    assert overrides(student=0.85, confidence=0.85, in_budget=3) == []


@pytest.mark.parametrize("limit", [1.0, 2.0, None])
def test_a_limit_that_is_no_limit_is_not_lowered(limit):
    assert overrides(student=0.85, confidence=0.85, in_budget=2, limit=limit) == []


def test_an_under_confident_student_is_not_told_to_smooth():
    assert overrides(student=0.95, confidence=0.75) == []


def test_labels_that_are_smoothed_already_are_not_smoothed_again():
    assert overrides(student=0.9, confidence=0.99, terms=("label_smoothing", "kd")) == []


@pytest.mark.parametrize("edge", [1.0, 16.0])
def test_one_temperature_at_the_edge_of_the_scan_proposes_nothing(edge):
    assert overrides(span=(edge, edge)) == []


def test_one_temperature_inside_the_scan_is_proposed():
    assert overrides(span=(8.0, 8.0)) == ["temperature.value=8"]


def test_temperature_is_not_proposed_without_a_teacher_term():
    assert overrides(span=(8.0, 16.0), terms=("ce",)) == []


def test_proposals_are_sound_overrides_of_the_default_run():
    changes = {"kept_epoch": 39, "student": 0.85, "in_budget": 2, "span": (8.0, 16.0)}
    proposals = propose(evidence(**changes, suggested=0.5))
    assert len(proposals) == 5
    for proposal in proposals:
        assert proposal.why.endswith(".")
        checked(merged(["loss.ce.weight=0.1"], proposal.overrides))
