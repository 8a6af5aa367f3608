"""The pictures of docs/speed.md: speeds as bars, cost against size on logarithmic axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from bench.pairs import LOOPS
from bench.tables import LOOP_NAMES, slope
from distill_lab.report.style import (
    COLOURS,
    DASHES,
    INK,
    MUTED,
    SMALL_SIZE,
    add_legend,
    label_axes,
    name_ticks,
    panels,
)

OURS, OTHERS = COLOURS[0], MUTED
PLAIN = StrMethodFormatter("{x:,.0f}")
Curve = tuple[list[float], list[float]]


def save(results: dict[str, Any], folder: Path) -> None:
    """Draw what was measured."""
    figures = {}
    if results.get("pairs"):
        figures["speed_pairs.png"] = _pairs(results["pairs"])
    if results.get("scaling"):
        figures["speed_scaling.png"] = _scaling(results["scaling"])
    if results.get("sweep") and results.get("parallel"):
        figures["speed_jobs.png"] = _jobs(results["sweep"], results["parallel"])
    for name, figure in figures.items():
        figure.savefig(folder / name, dpi=100)


def _pairs(pairs: dict[str, Any]) -> Figure:
    figure, axes = panels(len(pairs), 11.0, 3.6, sharey=True)
    for ax, (name, pair) in zip(axes, pairs.items(), strict=True):
        values = [pair[loop] for loop in LOOPS]
        below = [pair[loop] - pair["ranges"][loop][0] for loop in LOOPS]
        above = [pair["ranges"][loop][1] - pair[loop] for loop in LOOPS]
        colours = [OURS if loop.startswith("ours") else OTHERS for loop in LOOPS]
        ax.barh(range(len(LOOPS)), values, xerr=[below, above], color=colours, ecolor=INK)
        ax.grid(False, axis="y")
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.xaxis.set_major_formatter(PLAIN)
        label_axes(ax, "images/s, median and range", "", name)
    axes[0].invert_yaxis()
    name_ticks(axes[0], "y", [LOOP_NAMES[loop] for loop in LOOPS])
    return figure


def _scaling(scaling: dict[str, Any]) -> Figure:
    figure, axes = panels(2, 11.0, 7.4, num_rows=2)
    times = {"epoch, cached": "epoch_seconds", "write": "write_seconds", "read": "read_seconds"}
    for row, x_key in enumerate(("num_samples", "num_classes")):
        name = x_key.removeprefix("num_")
        measured = scaling[name]
        top_k = scaling["classes_top_k"] if name == "classes" else []
        curves = {label: _curve(measured, x_key, key) for label, key in times.items()}
        sizes = {"all logits": _curve(measured, x_key, "cache_bytes")}
        if len(top_k) > 1:
            label = f"top {scaling['top_k']}"
            curves[f"epoch, {label}"] = _curve(top_k, x_key, "epoch_seconds")
            sizes[label] = _curve(top_k, x_key, "cache_bytes")
        _power_laws(axes[2 * row], curves)
        _power_laws(axes[2 * row + 1], sizes)
        label_axes(axes[2 * row], name, "seconds")
        label_axes(axes[2 * row + 1], name, "bytes of a view")
    return figure


def _jobs(sweep: dict[str, Any], parallel: dict[str, Any]) -> Figure:
    figure, (left, right) = panels(2, 11.0, 3.7)
    counts = [int(count) for count in sweep["sweep_seconds"]]
    separate = [sum(sweep["separate_seconds"][:count]) for count in counts]
    x = [float(count) for count in counts]
    _power_laws(
        left,
        {"separate runs": (x, separate), "one sweep": (x, list(sweep["sweep_seconds"].values()))},
    )
    label_axes(left, "students on one teacher", "seconds")
    _plain_ticks(left, x)
    x = [float(count) for count in parallel["serial_seconds"]]
    _power_laws(
        right,
        {
            "one job at a time": (x, list(parallel["serial_seconds"].values())),
            "two jobs at once": (x, list(parallel["parallel_seconds"].values())),
        },
    )
    label_axes(right, "jobs of a sweep over seeds", "seconds")
    _plain_ticks(right, x)
    return figure


def _power_laws(ax: Axes, curves: dict[str, Curve]) -> None:
    """Draw curves on logarithmic axes; the legend has the slope of each."""
    for number, (name, (x, y)) in enumerate(curves.items()):
        ax.loglog(
            x,
            y,
            label=f"{name}, slope {slope(x, y):.2f}" if len(x) > 1 else name,
            color=COLOURS[number],
            linestyle=DASHES[number % len(DASHES)],
            marker="o",
            markersize=4,
        )
    ax.tick_params(labelsize=SMALL_SIZE)
    add_legend(ax)


def _plain_ticks(ax: Axes, x: list[float]) -> None:
    """Write small numbers out, instead of as powers of ten."""
    low, high = ax.get_ylim()
    ax.set_ylim(low / 1.2, high * 2)  # so that no axis is without a number, and the legend has room
    ax.set_xticks(x)
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PLAIN)
        axis.set_minor_locator(NullLocator())


def _curve(rows: list[dict[str, float]], x_key: str, y_key: str) -> Curve:
    return [row[x_key] for row in rows], [row[y_key] for row in rows]
