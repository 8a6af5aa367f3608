"""All rules together: what they propose is sound, and nothing where nothing is wrong."""

from __future__ import annotations

import pytest

from distill_lab.config.groups import options
from distill_lab.launch import checked
from distill_lab.refine import merged
from distill_lab.stages.proposals import RULES, propose
from distill_lab.stages.rules.compression import PRUNE, QUANTIZE

DIGITS: tuple[str, ...] = ()
MLPS = ("architecture@teacher=mlp_1200", "architecture@student=mlp_30")
SAME = ("architecture@teacher=mlp_800", "architecture@student=mlp_800")
TEXT = ("data=reuters_r8", "architecture@teacher=bert_tiny", "architecture@student=text_cnn")
ITEMS = ("data=movielens_100k", "architecture@teacher=sasrec", "architecture@student=gru4rec")
UNFINISHED = {"kept_epoch": 39, "suggested": 0.5, "span": (8.0, 8.0)}
TOO_SMALL = {"student": 0.85, "confidence": 0.99, "in_budget": 2, "agreement": 1.0}


def test_nothing_is_proposed_where_nothing_is_wrong(evidence):
    assert propose(evidence(MLPS, student=0.92)) == []


@pytest.mark.parametrize(
    ("given", "facts", "rules"),
    [
        (
            DIGITS,
            UNFINISHED | TOO_SMALL,
            "longer larger patient weights temperature smoothing",
        ),
        (MLPS, TOO_SMALL, "larger assistant patient softer smoothing"),
        (SAME, {"student": 0.95}, "smaller int8"),
        (
            TEXT,
            UNFINISHED | TOO_SMALL,
            "longer larger patient weights temperature smoothing",
        ),
        (TEXT, {"student": 0.95}, "int8"),
        (ITEMS, UNFINISHED | TOO_SMALL, "longer larger weights temperature smoothing"),
    ],
)
def test_a_proposal_is_a_sound_command(evidence, given, facts, rules):
    fitting = evidence(given, **facts)
    fired = [rule.__name__ for rule in RULES if rule(fitting) is not None]
    proposals = propose(fitting)
    assert set(rules.split()) <= set(fired)
    assert len(proposals) >= len(rules.split())
    for proposal in proposals:
        assert proposal.why.endswith(".")
        checked(merged([*given], proposal.overrides))


def test_every_rule_fires_in_one_of_these_cases(evidence):
    cases = test_a_proposal_is_a_sound_command.pytestmark[0].args[1]
    named = {name for _, _, rules in cases for name in rules.split()}
    assert named == {rule.__name__ for rule in RULES}


def test_two_rules_that_say_the_same_are_heard_once(evidence):
    proposals = propose(evidence(student=0.9, confidence=0.99, span=(8.0, 8.0)))
    asked = [proposal.overrides for proposal in proposals]
    assert asked.count(["temperature.value=8"]) == 1
    assert "teacher's wrong classes" in proposals[asked.index(["temperature.value=8"])].why


def test_steps_that_are_proposed_are_options():
    assert {PRUNE, QUANTIZE} <= set(options("compress"))
