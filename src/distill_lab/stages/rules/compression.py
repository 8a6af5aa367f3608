"""Of a student that is good enough: fewer channels, or int8."""

from __future__ import annotations

from torch import nn

from distill_lab.compress.order import check_order
from distill_lab.compress.prune_structured import PruneStructured
from distill_lab.compress.quantize_onnx import QuantizeOnnx
from distill_lab.contracts import placeholder
from distill_lab.measure.cost import count_macs, count_parameters
from distill_lab.stages.report_handoff import Proposal
from distill_lab.stages.rules.evidence import Evidence

PRUNE, QUANTIZE = "prune_structured_iterative", "quantize_onnx"
"""Options of `compress`: what saves compute and parameters, and what saves bytes of most layers."""
FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
"""Of the channels, that are tried in this order; with less than 0.3 left little was distilled."""
EPOCHS_PER_ROUND = 10  # the part of those of stage 5 that follows each of the four prunings


def smaller(evidence: Evidence) -> Proposal | None:
    """As few channels gone as meet the goals of compute and size, where that of quality is met.

    What is left of MACs and parameters is counted, not estimated.
    """
    parts, goals = evidence.parts, evidence.parts.evaluation
    missed = _missed(evidence, evidence.design.cost.macs, evidence.design.cost.parameters)
    able = not parts.compress and not parts.design.reuse_classifier and _may_compress(evidence)
    if evidence.kept < goals.goal_accuracy_kept or not missed or not able:
        return None
    net = evidence.without_memory(evidence.design.architecture)
    fraction = None if net is None else _fraction(evidence, net)
    if fraction is None or not _trains(evidence, fraction):
        return None
    epochs = max(1, parts.regime.epochs // EPOCHS_PER_ROUND)
    return Proposal(
        [
            f"compress=[{PRUNE}]",
            f"compress.{PRUNE}.fraction={fraction:g}",
            f"compress.{PRUNE}.epochs={epochs}",
        ],
        f"good enough and too large: the student keeps {evidence.kept:.1%} of the teacher's "
        f"validation {evidence.student.scores.compared_by.label} and misses "
        f"{' and '.join(missed)}; without {fraction:.0%} of its channels it would not.",
    )


def int8(evidence: Evidence) -> Proposal | None:
    """Int8 after what there is, where less than half of what may be lost is lost."""
    parts, kept = evidence.parts, evidence.handed_out_kept
    enough = (1 + parts.evaluation.goal_accuracy_kept) / 2
    if kept < enough or QUANTIZE in parts.compress or not _may_compress(evidence):
        return None
    net = evidence.without_memory(evidence.design.architecture)
    if net is None:
        return None
    step = QuantizeOnnx(num_samples=2)
    try:
        check_order({name: one.make() for name, one in parts.compress.items()} | {QUANTIZE: step})
        step.check(net, placeholder(net, parts.data.info.input_shape, 2))
    except ValueError:
        return None
    return Proposal(
        [f"compress=[{','.join([*parts.compress, QUANTIZE])}]"],
        f"well above the goal: what is handed out keeps {kept:.1%} of the teacher's validation "
        f"{evidence.student.scores.compared_by.label}, where "
        f"{parts.evaluation.goal_accuracy_kept:.0%} would do; in int8 its file is smaller.",
    )


def _may_compress(evidence: Evidence) -> bool:
    """Tell whether a step at the end of `compress` is one of a chain of the student's."""
    variants = evidence.parts.variants
    return variants.chains is None and "student" in variants.of


def _missed(evidence: Evidence, macs: int, parameters: int) -> list[str]:
    """Return the goals of compute and size that a student of this cost would miss."""
    goals, teacher = evidence.parts.evaluation, evidence.teacher.best.cost
    saved, size = 1 - macs / max(teacher.macs, 1), parameters / max(teacher.parameters, 1)
    missed = ["the goal of compute"] if saved < goals.goal_compute_saved else []
    return missed + (["the goal of size"] if size > goals.goal_parameters_fraction else [])


def _fraction(evidence: Evidence, net: nn.Module) -> float | None:
    """Return the smallest share of channels to go for every goal to be met, if there is one."""
    shape = evidence.parts.data.info.input_shape
    for fraction in FRACTIONS:
        try:
            left = PruneStructured(fraction, 1, 0).begin(net, placeholder(net, shape, 2), 0)
        except ValueError:
            return None
        if not _missed(evidence, count_macs(left, shape), count_parameters(left)):
            return fraction
    return None


def _trains(evidence: Evidence, fraction: float) -> bool:
    """Tell whether the loss terms can be connected to every student as narrow as that."""
    known = evidence.teachers_and_students
    if known is None:
        return False
    teachers, students = known
    example = (evidence.parts.data.info.input_shape, 2)
    step = PruneStructured(fraction, 1, 0)
    try:
        narrow = [step.begin(net, placeholder(net, *example), 0) for net in students]
    except ValueError:
        return False
    return all(evidence.connects(net, teachers) for net in narrow)
