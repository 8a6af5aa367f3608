"""What stage 6 proposes to run next."""

from __future__ import annotations

from distill_lab.report.html import Section
from distill_lab.stages.report_handoff import Report


def next_configs(report: Report) -> list[Section]:
    """Return the proposals, each with the rule behind it."""
    rows = [{"overrides": " ".join(one.overrides), "why": one.why} for one in report.proposals]
    text = () if rows else ("No rule proposes a change.",)
    return [Section("What to try next", text=text, tables=(rows,))]
