"""Stage 6's refinement rules: from what was measured to configs worth a run."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import geometric_mean

from distill_lab.contracts import Parts
from distill_lab.measure.budget import AUTO_PARAMETERS_FRACTION
from distill_lab.stages.handoffs import (
    ConnectedLoss,
    KnowledgeMap,
    StudentDesign,
    TeacherChoice,
    TrainedStudent,
)
from distill_lab.stages.report_handoff import Proposal

CAPACITY_GAP = (
    0.95  # share of the teacher's quality on validation below which the student is called too small
)
OVER_CONFIDENT = 0.05  # mean confidence - accuracy above which it is called over-confident
UNFINISHED = 0.9  # share of the epochs; a best epoch after it was still getting better
HARD_LABELS = "distill_lab.losses.ce.CE"  # the loss that label smoothing takes the place of
NEAR = 0.05  # relative distance at which a temperature counts as tried


@dataclass(frozen=True)
class Evidence:
    """What the rules look at; validation numbers only, the test split plays no part in a choice."""

    parts: Parts
    teacher: TeacherChoice
    knowledge: KnowledgeMap
    design: StudentDesign
    loss: ConnectedLoss
    student: TrainedStudent
    control: TrainedStudent


def propose(evidence: Evidence) -> list[Proposal]:
    """Return next configs, the most promising rule first, ready for the command line."""
    rules = (_longer, _larger, _weights, _temperature, _smoothing)
    return [proposal for rule in rules if (proposal := rule(evidence)) is not None]


def _longer(evidence: Evidence) -> Proposal | None:
    student, epochs = evidence.student, evidence.parts.regime.epochs
    if student.kept_epoch < UNFINISHED * epochs or evidence.parts.regime.keep != "best":
        return None
    return Proposal(
        [f"regime.epochs={2 * epochs}"],
        f"the best epoch was {student.kept_epoch} of {epochs}: it was still getting better.",
    )


def _larger(evidence: Evidence) -> Proposal | None:
    student, teacher = evidence.student.scores, evidence.teacher.best.scores
    kept = student.quality / max(teacher.quality, 1e-9)
    bigger = evidence.design.num_in_budget < evidence.design.num_candidates
    limit = evidence.parts.design.max_parameters_fraction
    limit = AUTO_PARAMETERS_FRACTION if limit == "auto" else limit
    if kept >= CAPACITY_GAP or not bigger or limit is None or limit >= 1:
        return None
    return Proposal(
        [f"design.max_parameters_fraction={min(1.0, max(0.8, 2 * limit)):.2g}"],
        f"capacity gap: the student keeps {kept:.1%} of the teacher's validation "
        f"{student.compared_by.label}, and larger candidates are outside the budget.",
    )


def _weights(evidence: Evidence) -> Proposal | None:
    changed = [t for t in evidence.loss.terms if abs(t.suggested_weight - t.weight) > 1e-9]
    if not changed:
        return None
    return Proposal(
        [f"loss.{term.name}.weight={term.suggested_weight:.3g}" for term in changed],
        "one term's gradient drowned another's at the start; these weights make them equally long.",
    )


def _temperature(evidence: Evidence) -> Proposal | None:
    args = evidence.parts.temperature.args
    if "value" not in args or not any(term.uses_teacher for term in evidence.loss.terms):
        return None
    low, high = evidence.knowledge.temperature_range
    scanned = [float(text) for text in evidence.knowledge.entropy]
    if low == high and low in (min(scanned), max(scanned)):  # what is best may lie beyond the scan
        return None
    middle = float(f"{geometric_mean([low, high]):.2g}")
    inside = low <= args["value"] <= high
    better = middle if not inside else high if args["value"] < middle else low
    if abs(better - args["value"]) <= NEAR * better:
        return None
    place = "inside" if inside else "outside"
    return Proposal(
        [f"temperature.value={better:g}"],
        f"temperature {args['value']:g} is {place} the range {low:g} to {high:g} in which the "
        f"teacher's wrong classes differ most; try {'its other end' if inside else 'its middle'}.",
    )


def _smoothing(evidence: Evidence) -> Proposal | None:
    scores, loss = evidence.student.scores, evidence.parts.loss
    hard = next((name for name, term in loss.items() if term.target == HARD_LABELS), None)
    if scores.confidence - scores.accuracy <= OVER_CONFIDENT or hard is None:
        return None
    smoothed = ",".join("label_smoothing" if name == hard else name for name in loss)
    weight = loss[hard].args["weight"]
    return Proposal(
        [f"loss=[{smoothed}]", f"loss.label_smoothing.weight={weight:g}"],
        f"on validation the student is over-confident: mean confidence {scores.confidence:.3f}, "
        f"accuracy {scores.accuracy:.3f}; smooth the labels.",
    )
