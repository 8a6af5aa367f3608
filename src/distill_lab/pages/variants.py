"""What a report says of compressed networks: what each step costs, and whether int8 pays."""

from __future__ import annotations

from distill_lab.report.html import Section
from distill_lab.report.tables import Cell
from distill_lab.stages.report_handoff import Report, Variant

MARGIN = 1.1  # times that differ by less are called the same: medians repeat no better


def variants(report: Report) -> list[Section]:
    """Return the table of compressed networks; nothing where none was compressed."""
    if not report.variants:
        return []
    return [
        Section(
            "Compressed",
            text=(
                "Each line is the network above it in its chain after one more step. Smaller and "
                "faster are against the network that the chain began with, and so are points and "
                "p, of McNemar's test: below 0.05 the two can be told apart. Time is that of one "
                "sample, measured on this machine.",
                *int8_in_time(report),
            ),
            tables=([_line(report, one) for one in report.variants],),
        )
    ]


def int8_in_time(report: Report) -> list[str]:
    """Return one sentence per variant that is in int8: whether that saves time."""
    return [
        _in_time(one, one.float_latency_ms)
        for one in report.variants
        if one.float_latency_ms is not None
    ]


def _in_time(int8: Variant, float_ms: float) -> str:
    ratio = float_ms / int8.latency_ms
    said = "int8 pays in time" if ratio > 1 else "int8 does not pay in time"
    if 1 / MARGIN <= ratio <= MARGIN:
        said = "int8 takes about as long as float"
    return (
        f"{said}: {int8.name} takes {int8.latency_ms:.4g} ms, the same in float "
        f"{float_ms:.4g} ms, both by {int8.runtime}."
    )


def _line(report: Report, one: Variant) -> dict[str, Cell]:
    row, quality = report.row(one.of), one.scores.compared_by.label
    return {
        "": one.name,
        "run by": one.runtime,
        f"val {quality}": one.validation.quality,
        quality: one.scores.quality,
        "points": 100 * (one.scores.quality - row.scores.quality),
        "p": None if one.against_origin is None else one.against_origin.p_value,
        "smaller": _times(row.file_bytes, one.file_bytes),
        "faster": None if _on_gpu(report, one.of) else _times(row.cost.latency_ms, one.latency_ms),
        "difference": one.difference,
        "seconds": one.seconds,
    }


def _times(before: float | None, after: float) -> str | None:
    return None if before is None else f"{before / after:.2f} x"


def _on_gpu(report: Report, name: str) -> bool:
    """Tell whether a network was timed where its compressed ones, on the CPU, were not."""
    return report.running is not None and report.running.of(name).on_gpu
