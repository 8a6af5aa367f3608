"""What a search found: how it went on, what each key does, what trades against what."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from distill_lab.report.style import COLOURS, MUTED, add_legend, label_axes, name_ticks, panels

MAX_COLUMNS = 3


@dataclass(frozen=True)
class Slice:
    """One key of the space.

    Attributes:
        name: of the key.
        values: of each trial, numbers or texts.
        order: of the texts on the axis; empty for numbers.
        log: whether the axis of the numbers is logarithmic.
    """

    name: str
    values: Sequence[str | float]
    order: Sequence[str] = ()
    log: bool = False


def history(
    numbers: Sequence[int], values: Sequence[float], lower_is_better: bool, label: str
) -> Figure:
    """Draw the objective of each trial, and the best so far.

    Args:
        numbers: of the complete trials, ascending; at least one.
        values: what each reached.
        lower_is_better: what "best" means.
        label: of the objective.
    """
    figure, (ax,) = panels(1, 6.0, 3.8)
    best = list(accumulate(values, min if lower_is_better else max))
    ax.scatter(numbers, values, s=30, color=COLOURS[0], label="trial", zorder=3)
    ax.step(numbers, best, where="post", color=COLOURS[1], label="best so far")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    add_legend(ax)
    label_axes(ax, "trial", label)
    return figure


def slices(
    keys: Sequence[Slice], values: Sequence[float], complete: Sequence[bool], best: int, label: str
) -> Figure:
    """Draw the objective against each key, one panel per key.

    Args:
        keys: of the space; at least one.
        values: objective of each trial; of a pruned one the last that is known.
        complete: of each trial; the others are drawn hollow.
        best: place of the best trial, drawn as a star.
        label: of the objective.
    """
    num_columns = min(MAX_COLUMNS, len(keys))
    num_rows = math.ceil(len(keys) / num_columns)
    width = max(4.0, 3.4 * num_columns)
    figure, axes = panels(num_columns, width, 3.4 * num_rows, num_rows, sharey=True)
    for number, (ax, key) in enumerate(zip(axes, keys, strict=False)):
        _draw_slice(ax, key, values, complete, best)
        label_axes(ax, key.name, label if number % num_columns == 0 else "")
    for ax in axes[len(keys) :]:
        ax.set_axis_off()
    if not all(complete):
        add_legend(axes[0])
    return figure


def importance(shares: dict[str, float], title: str) -> Figure:
    """Draw the share of the objective's variance that each key explains, the largest on top.

    Args:
        shares: key -> share in [0, 1].
        title: above the axes.
    """
    names = sorted(shares, key=lambda name: shares[name])
    figure, (ax,) = panels(1, 6.0, 1.4 + 0.4 * len(names))
    ax.barh(range(len(names)), [shares[name] for name in names], color=COLOURS[0], height=0.6)
    ax.set_xlim(0, 1)
    ax.grid(False, axis="y")
    name_ticks(ax, "y", names)
    label_axes(ax, "share of the variance", "", title)
    return figure


def front(
    x: Sequence[float], y: Sequence[float], best: Sequence[bool], x_label: str, y_label: str
) -> Figure:
    """Draw trials by two objectives; those that no other beats in all of them are joined.

    Args:
        x: first objective of each trial.
        y: second one.
        best: whether no other trial beats it.
        x_label: of the first.
        y_label: of the second.
    """
    figure, (ax,) = panels(1, 6.0, 4.0)
    kept = sorted((a, b) for a, b, is_best in zip(x, y, best, strict=True) if is_best)
    left = [(a, b) for a, b, is_best in zip(x, y, best, strict=True) if not is_best]
    for points, colour, label in ((left, MUTED, "beaten"), (kept, COLOURS[1], "not beaten")):
        if points:
            across, up = _columns(points)
            ax.scatter(across, up, s=45, color=colour, label=label, zorder=3)
    ax.plot(*_columns(kept), color=COLOURS[1], linewidth=1, linestyle="--")
    ax.margins(0.12)
    add_legend(ax)
    label_axes(ax, x_label, y_label)
    return figure


def _draw_slice(
    ax: Axes, key: Slice, values: Sequence[float], complete: Sequence[bool], best: int
) -> None:
    places = [key.order.index(str(v)) if key.order else float(v) for v in key.values]
    points = list(zip(places, values, complete, strict=True))
    for is_complete, label in ((True, "complete"), (False, "pruned")):
        members = [(place, value) for place, value, done in points if done == is_complete]
        if members:
            face = COLOURS[0] if is_complete else "white"
            colour = COLOURS[0] if is_complete else MUTED
            x, y = _columns(members)
            ax.scatter(x, y, s=34, color=face, edgecolor=colour, label=label)
    ax.scatter([places[best]], [values[best]], s=180, color=COLOURS[1], marker="*", zorder=3)
    if key.log:
        ax.set_xscale("log")
    if key.order:
        ax.set_xlim(-0.5, len(key.order) - 0.5)
        crowded = len(key.order) > 4 or max(map(len, key.order)) > 8
        name_ticks(ax, "x", list(key.order), rotation=40 if crowded else 0)


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]
