"""What each network knows against what it costs to ask it."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from distill_lab.report import plots
from distill_lab.report.html import Section
from distill_lab.report.tables import Row
from distill_lab.stages.report_handoff import DISTILLED, Report, table

COSTS = ("MACs", "latency ms", "KiB on disk")


def trade_off(report: Report) -> list[Section]:
    """Return one plot per cost, of all networks of the main table."""
    quality = f"test {report.validation.compared_by.label}"
    rows = [{**row, quality: row[report.validation.compared_by.label]} for row in table(report)]
    figures = ((cost, kept_against(rows, quality, cost, DISTILLED)) for cost in COSTS)
    shown = tuple((drawn, f"What networks know, by {cost}.") for cost, drawn in figures if drawn)
    text = "On the line is the Pareto front: hollow networks are beaten by one that is as cheap."
    return [Section("Pareto front", text=(text,), figures=shown)]


def kept_against(rows: Sequence[Row], quality: str, cost: str, picked: str) -> Figure | None:
    """Draw one column against another; None where fewer than two rows have both.

    Args:
        rows: networks, named in the column "".
        quality: the column to draw upwards.
        cost: the column to draw to the right, > 0.
        picked: the row to stand out.
    """
    points = [
        plots.Point(
            name=str(row[""]),
            x=float(row[cost]),
            y=float(row[quality]),
            kept=True,
            picked=row[""] == picked,
        )
        for row in rows
        if row.get(cost) and row.get(quality) is not None
    ]
    return plots.trade_off(points, cost, quality, "") if len(points) > 1 else None
