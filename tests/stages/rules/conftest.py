"""Evidence made by hand, around parts that are real."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

from distill_lab.contracts import Parts
from distill_lab.launch import checked
from distill_lab.measure.cost import Cost, count_macs, count_parameters
from distill_lab.measure.fidelity import Fidelity
from distill_lab.measure.scores import Scores
from distill_lab.stages.handoffs import (
    Candidate,
    ConnectedLoss,
    KnowledgeMap,
    StudentDesign,
    TeacherChoice,
    Term,
    TrainedStudent,
    Weights,
)
from distill_lab.stages.report_handoff import DISTILLED, Variant
from distill_lab.stages.rules.evidence import Evidence

WEIGHTS = Weights("run", "weights.safetensors", "hash")


@cache
def parts_of(*overrides: str) -> Parts:
    return checked([*overrides])


@cache
def cost_of(slot: str, *overrides: str) -> Cost:
    parts = parts_of(*overrides)
    network = {"teacher": parts.teachers, "student": parts.students}[slot][-1]
    with torch.device("meta"):
        net = network.make_network(parts.data.info)
    macs = count_macs(net, parts.data.info.input_shape)
    return Cost(count_parameters(net), macs, 1, 1.0, 1.0, 1.0)


def scores(accuracy: float, confidence: float | None = None) -> Scores:
    sure = accuracy if confidence is None else confidence
    return Scores(accuracy, 0.1, 0.1, 0.0, sure, 1)


@pytest.fixture
def evidence() -> Callable[..., Evidence]:
    """Makes evidence of a run in which nothing is wrong; keywords change single facts.

    The student is the last of its grid. `changes` are replaced in a section of the parts, e.g.
    `regime={"keep": "last"}`.
    """

    def make(
        overrides: tuple[str, ...] = (),
        teacher: float = 0.95,
        student: float = 0.93,
        confidence: float | None = None,
        kept_epoch: int = 10,
        agreement: float = 0.95,
        in_budget: int = 3,
        suggested: float | None = None,
        span: tuple[float, float] = (4.0, 4.0),
        scan: tuple[float, ...] = (1.0, 4.0, 16.0),
        macs: int = 1,
        parameters: int = 1,
        variant: float | None = None,
        **changes: dict[str, Any],
    ) -> Evidence:
        parts = parts_of(*overrides)
        for section, values in changes.items():
            parts = replace(parts, **{section: replace(getattr(parts, section), **values)})
        costs = {slot: cost_of(slot, *overrides) for slot in ("teacher", "student")}
        network = parts.students[-1]
        trained = TrainedStudent(
            "student", network, WEIGHTS, scores(student, confidence), 40, kept_epoch, 1.0
        )
        best = Candidate(
            "teacher", parts.teachers[-1], 0, WEIGHTS, scores(teacher), costs["teacher"], 0.9
        )
        small = costs["student"]
        small = replace(small, macs=small.macs * macs, parameters=small.parameters * parameters)
        terms = [
            Term(
                name,
                term.args["weight"],
                1.0,
                1.0,
                term.args["weight"] if suggested is None else suggested,
                name not in ("ce", "label_smoothing"),
            )
            for name, term in parts.loss.items()
        ]
        compressed = Variant(
            of=DISTILLED, steps=["a step"], runtime="PyTorch", is_int8=False, file=WEIGHTS,
            scores=scores(0.0), agreement=0.0, kl_to_teacher=0.0, parameters=1, macs=1,
            file_bytes=1, latency_ms=1.0, validation=scores(variant or 0.0), difference=None,
            seconds=1.0,
        )  # fmt: skip
        return Evidence(
            parts=parts,
            teacher=TeacherChoice([best], 1),
            knowledge=KnowledgeMap({f"{t:g}": 1.0 for t in scan}, {}, list(span), {}, []),
            design=StudentDesign("student", network, small, [], 3, in_budget, False, None),
            loss=ConnectedLoss(terms, 4.0, {}),
            student=trained,
            on_train=Fidelity(agreement, 0.1),
            variants=[] if variant is None else [compressed],
        )

    return make


@pytest.fixture
def asked(evidence: Callable[..., Evidence]) -> Callable[..., list[str] | None]:
    """Asks a rule about evidence; the overrides that it proposes, None where it does not fire."""

    def ask(rule: Callable[[Evidence], Any], *overrides: str, **facts: Any) -> list[str] | None:
        proposal = rule(evidence(overrides, **facts))
        return None if proposal is None else proposal.overrides

    return ask
