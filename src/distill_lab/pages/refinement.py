"""What a refinement tried, what each round came from and what it brought."""

from __future__ import annotations

from math import nan

from matplotlib.figure import Figure

from distill_lab.report import plots
from distill_lab.report.html import Section
from distill_lab.stages.lineage import NOISE, SMALLER, Lineage, rows

SHOWN = ("round", "from", "name", "gain", "KiB on disk", "goals met", "brought", "why")


def figure(lineage: Lineage) -> Figure:
    """Draw the quality of each round on validation, and that of the best so far."""
    reached = [nan if one.standing is None else one.standing.quality for one in lineage.rounds]
    best = list(reached)
    for number, one in enumerate(lineage.rounds):
        if number and not one.is_better:
            best[number] = best[number - 1]
    numbers = [float(one.number) for one in lineage.rounds]
    series = {"best so far": best, "this round": reached}
    drawn = plots.lines(numbers, series, "", "round", f"validation {lineage.quality}")
    drawn.axes[0].set_xticks(numbers)
    return drawn


def sections(lineage: Lineage) -> list[Section]:
    """Return the section of a report on a run that was refined."""
    best, columns = lineage.best, (*SHOWN[:3], f"val {lineage.quality}", *SHOWN[3:])
    return [
        Section(
            "Refinement",
            text=(
                f"The best of {len(lineage.rounds)} runs is {best.name} ({best.run_id}). "
                f"{lineage.stopped}".strip(),
                rule(),
            ),
            tables=([{name: row[name] for name in columns} for row in rows(lineage)],),
            figures=((figure(lineage), "Rounds, and the best of them so far, on validation."),),
        )
    ]


def rule() -> str:
    """Say when a round is better than the best before it; `lineage.improvement` in words."""
    return (
        "A round is better than the best before it where, on validation, its quality is higher "
        "(by more than the noise if it loses a goal); or where it loses no goal, its quality is "
        "the same within the noise, and it meets a goal that was missed or its file is smaller by "
        f"{SMALLER:.0%} at least. A goal won is worth quality as long as the goal of quality is "
        f"met. The noise is {NOISE:g} standard errors. The test split has no say."
    )
