"""Of what the student is told: how soft the teacher's answers are, how hard the labels."""

from __future__ import annotations

from statistics import geometric_mean

from distill_lab.stages.report_handoff import Proposal
from distill_lab.stages.rules.evidence import Evidence

OVER_CONFIDENT = 0.05  # mean confidence - accuracy above which it is called over-confident
HARD_LABELS = "distill_lab.losses.ce.CE"  # the loss that label smoothing takes the place of
NEAR = 0.05  # relative distance at which a temperature counts as tried


def temperature(evidence: Evidence) -> Proposal | None:
    """A temperature at which the teacher's wrong classes differ, by the scan of stage 2."""
    value = _temperature_of(evidence)
    if value is None:
        return None
    low, high = evidence.knowledge.temperature_range
    scanned = _scanned(evidence)
    if low == high and low in (min(scanned), max(scanned)):  # what is best may lie beyond the scan
        return None
    middle = float(f"{geometric_mean([low, high]):.2g}")
    inside = low <= value <= high
    better = middle if not inside else high if value < middle else low
    if abs(better - value) <= NEAR * better:
        return None
    place = "inside" if inside else "outside"
    return Proposal(
        [f"temperature.value={better:g}"],
        f"temperature {value:g} is {place} the range {low:g} to {high:g} in which the "
        f"teacher's wrong classes differ most; try {'its other end' if inside else 'its middle'}.",
    )


def softer(evidence: Evidence) -> Proposal | None:
    """Twice the temperature for an over-confident student, as far as stage 2 has looked."""
    value = _temperature_of(evidence)
    if value is None or not _is_over_confident(evidence) or 2 * value > max(_scanned(evidence)):
        return None
    return Proposal(
        [f"temperature.value={2 * value:g}"], f"{_how_confident(evidence)} soften more."
    )


def smoothing(evidence: Evidence) -> Proposal | None:
    """Smoothed labels in place of hard ones for an over-confident student."""
    loss = evidence.parts.loss
    hard = next((name for name, term in loss.items() if term.target == HARD_LABELS), None)
    if hard is None or not _is_over_confident(evidence):
        return None
    if hard in evidence.parts.weighting.schedules:  # which is of the term that would be gone
        return None
    smoothed = ",".join("label_smoothing" if name == hard else name for name in loss)
    weight = loss[hard].args["weight"]
    return Proposal(
        [f"loss=[{smoothed}]", f"loss.label_smoothing.weight={weight:g}"],
        f"{_how_confident(evidence)} smooth the labels.",
    )


def _temperature_of(evidence: Evidence) -> float | None:
    """Return the temperature of the run; None where it changes, or where no term reads it."""
    args = evidence.parts.temperature.args
    read = any(term.uses_teacher for term in evidence.loss.terms)
    return args["value"] if "value" in args and read else None


def _scanned(evidence: Evidence) -> list[float]:
    return [float(text) for text in evidence.knowledge.entropy]


def _is_over_confident(evidence: Evidence) -> bool:
    scores = evidence.student.scores
    return scores.confidence - scores.accuracy > OVER_CONFIDENT


def _how_confident(evidence: Evidence) -> str:
    scores = evidence.student.scores
    return (
        f"on validation the student is over-confident: mean confidence {scores.confidence:.3f}, "
        f"accuracy {scores.accuracy:.3f};"
    )
