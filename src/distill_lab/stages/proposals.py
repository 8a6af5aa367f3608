"""Stage 6's refinement rules: from what was measured to configs worth a run; docs/refine.md."""

from __future__ import annotations

from distill_lab.stages.report_handoff import Proposal
from distill_lab.stages.rules.capacity import assistant, larger
from distill_lab.stages.rules.compression import int8, smaller
from distill_lab.stages.rules.evidence import Evidence
from distill_lab.stages.rules.targets import smoothing, softer, temperature
from distill_lab.stages.rules.training import longer, patient, weights

RULES = (
    longer,
    larger,
    assistant,
    patient,
    weights,
    smaller,
    temperature,
    softer,
    smoothing,
    int8,
)
"""What promises most comes first: a student that has not learnt, then targets, then its cost."""


def propose(evidence: Evidence) -> list[Proposal]:
    """Return next configs, the most promising first, each once, ready for the command line."""
    found: dict[tuple[str, ...], Proposal] = {}
    for rule in RULES:
        proposal = rule(evidence)
        if proposal is not None:
            found.setdefault(tuple(proposal.overrides), proposal)
    return list(found.values())
