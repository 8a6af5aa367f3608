"""What a report says of compressed networks: what each step costs, and whether int8 pays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill_lab.report import plots
from distill_lab.report.html import Section
from distill_lab.report.tables import Cell
from distill_lab.stages.handoffs import DISTILLED, Report, Variant, table

if TYPE_CHECKING:
    from distill_lab.tracking.run import TrackedRun


def of_variants(run: TrackedRun, report: Report) -> list[Section]:
    """Return the section of the report and log its figures; none where nothing is compressed."""
    if not report.variants:
        return []
    figures = []
    for path, unit in (("size.png", "KiB on disk"), ("latency.png", "latency ms")):
        points = [
            plots.Point(
                name=str(row[""]),
                x=float(row[unit] or 0),
                y=float(row["accuracy"] or 0),
                kept=True,
                picked=row[""] == DISTILLED,
            )
            for row in table(report)
        ]
        figure = plots.trade_off(points, unit, "test accuracy", "")
        run.log_figure(figure, path)
        figures.append((figure, f"What each network knows, against {unit}."))
    return [
        Section(
            "Compressed",
            text=(
                "Each line is the network above it in its chain after one more step. Smaller and "
                "faster are against the network that the chain began with; time is that of one "
                "sample, measured on this machine.",
                *int8_in_time(report),
            ),
            tables=([_line(report, one) for one in report.variants],),
            figures=tuple(figures),
        )
    ]


def int8_in_time(report: Report) -> list[str]:
    """Return one sentence per variant whose last step made it int8: whether that saves time."""
    sentences = []
    for one in report.variants:
        name, ms = _in_float(report, one)
        if not one.is_int8 or name is None:
            continue
        verdict = "pays in time" if one.latency_ms < ms else "does not pay in time"
        sentences.append(
            f"int8 {verdict}: {one.name} takes {one.latency_ms:.4g} ms, {name} {ms:.4g} ms."
        )
    return sentences


def _in_float(report: Report, int8: Variant) -> tuple[str | None, float]:
    """Return name and latency of the same network in float: by the same runtime if it is there.

    The name is None where the step before the last left int8 already.
    """
    *before, _ = int8.steps
    others = [one for one in report.variants if one.of == int8.of]
    same_runtime = [
        one
        for one in others
        if one.steps[:-1] == before and one.runtime == int8.runtime and not one.is_int8
    ]
    own = [one for one in others if one.steps == before]
    if own and own[0].is_int8:
        return None, 0.0
    found = next(iter(same_runtime or own), None)
    if found is not None:
        return found.name, found.latency_ms
    return int8.of, report.row(int8.of).cost.latency_ms


def _line(report: Report, one: Variant) -> dict[str, Cell]:
    row = report.row(one.of)
    return {
        "": one.name,
        "run by": one.runtime,
        "val accuracy": one.validation_accuracy,
        "accuracy": one.scores.accuracy,
        "points": 100 * (one.quality - row.quality),
        "smaller": _times(row.file_bytes, one.file_bytes),
        "faster": _times(row.cost.latency_ms, one.latency_ms),
        "difference": one.difference,
        "seconds": one.seconds,
    }


def _times(before: float | None, after: float) -> str | None:
    return None if before is None else f"{before / after:.2f} x"
