"""Of a student that is too small for its teacher: a larger one, or a network between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import log

from torch import nn

from distill_lab.measure.budget import AUTO_PARAMETERS_FRACTION, limits
from distill_lab.measure.cost import Cost, count_macs, count_parameters
from distill_lab.stages.report_handoff import Proposal
from distill_lab.stages.rules.evidence import Evidence

CAPACITY_GAP = 0.95
"""Share of the teacher's quality on validation below which a student is called too small: what the
field asks of one, and the default goal."""
SMALLEST_STEP = 2  # times as many parameters: a nearer teacher would hardly differ from its student


def larger(evidence: Evidence) -> Proposal | None:
    """A wider limit of parameters, where larger candidates were outside of it."""
    design = evidence.parts.design
    bigger = evidence.design.num_in_budget < evidence.design.num_candidates
    limit = design.max_parameters_fraction
    limit = AUTO_PARAMETERS_FRACTION if limit == "auto" else limit
    others = (design.max_macs_fraction, design.max_latency_ms, design.max_memory_mib)
    kept_out = bigger and all(one is None for one in others)  # which may have done it as well
    if evidence.kept >= CAPACITY_GAP or not kept_out or limit is None or limit >= 1:
        return None
    return Proposal(
        [f"design.max_parameters_fraction={min(1.0, max(0.8, 2 * limit)):.2g}"],
        f"{_gap(evidence)}, and larger candidates are outside the budget.",
    )


def assistant(evidence: Evidence) -> Proposal | None:
    """A teacher assistant, where a network of the size between them is known.

    Of the networks of either family that are options of the config: the one whose number of
    parameters is nearest to the geometric mean. Source: Mirzadeh et al. 2020, arXiv:1902.03393.
    """
    if evidence.kept >= CAPACITY_GAP or not _may_have_one(evidence):
        return None
    small, large = evidence.design.cost.parameters, evidence.teacher.best.cost.parameters
    between = sorted(
        _between(evidence), key=lambda found: abs(2 * log(found[2]) - log(small) - log(large))
    )
    for name, net, size in between:
        if _in_budget(evidence, net) and _connects(evidence, net):
            return Proposal(
                [f"chain.assistants=[{name}]"],
                f"{_gap(evidence)}, with {large:,} parameters against {small:,}; "
                f"let {name}, with {size:,}, be taught first and then teach.",
            )
    return None


def _gap(evidence: Evidence) -> str:
    label = evidence.student.scores.compared_by.label
    return (
        f"capacity gap: the student keeps {evidence.kept:.1%} of the teacher's validation {label}"
    )


def _may_have_one(evidence: Evidence) -> bool:
    """Tell whether a pass could be put before this one, and be judged before it is run.

    A pass after others has `from_run`; what is copied from the teacher may not be in an assistant;
    time and memory are measured, in stage 3.
    """
    selection, design = evidence.parts.selection, evidence.parts.design
    taken = design.reuse_classifier or design.copy_layers is not None
    measured = (design.max_latency_ms, design.max_memory_mib)
    taught = any(term.uses_teacher for term in evidence.loss.terms)
    return taught and selection.from_run is None and not taken and all(m is None for m in measured)


def _between(evidence: Evidence) -> Iterator[tuple[str, nn.Module, int]]:
    """Yield name, network and size of those that are a step away from student and teacher."""
    teacher, student = evidence.teacher.best, evidence.design
    family = {teacher.architecture.target, student.architecture.target}
    for name, network in evidence.parts.architectures.items():
        if network.target in family:
            net = evidence.without_memory(replace(network, is_student=True))
            size = 0 if net is None else count_parameters(net)
            lowest = SMALLEST_STEP * student.cost.parameters
            if net is not None and lowest <= size <= teacher.cost.parameters / SMALLEST_STEP:
                yield name, net, size


def _in_budget(evidence: Evidence, net: nn.Module) -> bool:
    """Hold the assistant against the budget as a student, and the student as one of its own."""
    parts = evidence.parts
    macs = count_macs(net, parts.data.info.input_shape)
    cost = Cost(count_parameters(net), macs, 0, 0.0, 0.0, 0.0)
    first = limits(parts.design, evidence.teacher.best.cost, has_grid=False)
    second = limits(parts.design, cost, has_grid=len(parts.students) > 1)
    return not first.misses(cost) and not second.misses(evidence.design.cost)


def _connects(evidence: Evidence, net: nn.Module) -> bool:
    """Tell whether the loss terms can compare the assistant with its teachers and its students."""
    known = evidence.teachers_and_students
    if known is None:
        return False
    teachers, students = known
    above = evidence.connects(net, teachers)
    return above and all(evidence.connects(student, [net]) for student in students)
