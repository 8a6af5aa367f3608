"""Curves and points of the report: plain values in, a figure out."""

from __future__ import annotations

import math
from textwrap import fill
from typing import TypedDict

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    EngFormatter,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
    ScalarFormatter,
)

from distill_lab.report.effects import Effect
from distill_lab.report.style import (
    COLOURS,
    DASHES,
    INK,
    MUTED,
    PALE,
    SMALL_SIZE,
    TEXT_SIZE,
    add_legend,
    label_axes,
    name_ticks,
    panels,
    style_axes,
)

_MAX_LABELS = 10
_CELLS = 12  # in each direction; points of one cell of the plot have one text
_AXES_HEIGHT = 250  # points (1/72 inch) of `trade_off`, about
_LINE_HEIGHT = 15  # points of a name
_NAME_WIDTH = 28  # characters of a line; a longer name would squeeze the axes away


class Point(TypedDict):
    """A candidate in `pareto`: `kept` if it is within budget, `picked` if it was chosen."""

    name: str
    x: float
    y: float
    kept: bool
    picked: bool


def lines(
    x: list[float],
    series: dict[str, list[float]],
    title: str,
    x_label: str,
    y_label: str,
    is_logarithmic: bool = False,
) -> Figure:
    """Draw named curves over one x axis, with markers where there are few points.

    Args:
        x: shared by all curves.
        series: name -> one value for each x; NaN leaves a gap.
        title: above the axes; may be empty.
        x_label: with its unit.
        y_label: with its unit.
        is_logarithmic: both axes; then all values are > 0, and each x has a tick.
    """
    figure, (ax,) = panels(1, 6.0, 3.8)
    marker = "o" if len(x) <= 25 else ""
    for number, (name, values) in enumerate(series.items()):
        colour, dash = _line_style(number)
        ax.plot(x, values, label=name, color=colour, linestyle=dash, marker=marker, markersize=4)
    if is_logarithmic:
        ax.set_yscale("log")
        _name_x(ax, x)
    elif all(float(value).is_integer() for value in x):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(series) > 1:
        add_legend(ax, ncols=1 if len(series) <= 5 else 2)
    label_axes(ax, x_label, y_label, title)
    return figure


def two_axes(
    x: list[float],
    left: tuple[str, list[float]],
    right: tuple[str, list[float]],
    x_label: str,
    span: tuple[float, float] | None,
) -> Figure:
    """Draw two quantities of different units against temperature.

    Args:
        x: > 0, ascending; on a logarithmic axis.
        left: name and values of the curve on the left axis.
        right: name and values of the curve on the right axis.
        x_label: with its unit.
        span: part of x to shade, e.g. the proposed range.
    """
    figure, (ax,) = panels(1, 6.0, 3.8)
    twin = ax.twinx()
    style_axes(twin)
    twin.grid(False)
    if span is not None:
        ax.axvspan(*span, color=PALE, zorder=0)
    sides = zip((ax, twin), (left, right), COLOURS, "os", ("-", "--"), strict=False)
    for side, (name, values), colour, marker, dash in sides:
        side.plot(x, values, color=colour, marker=marker, markersize=5, linestyle=dash)
        side.set_ylim(bottom=0)
        side.tick_params(axis="y", labelcolor=colour)
        label_axes(side, x_label, name)
        side.yaxis.label.set_color(colour)
    _name_x(ax, x)
    return figure


def pareto(points: list[Point], x_label: str, y_label: str, title: str) -> Figure:
    """Draw candidates by cost and benefit: in budget, out of budget, and the one picked.

    All are named where there are at most ten, else only the picked one.
    """
    figure, (ax,) = panels(1, 6.0, 4.0)
    kinds = {
        "out of budget": ([p for p in points if not p["kept"] and not p["picked"]], "o", MUTED),
        "in budget": ([p for p in points if p["kept"] and not p["picked"]], "o", COLOURS[0]),
        "picked": ([p for p in points if p["picked"]], "*", COLOURS[1]),
    }
    for kind, (members, marker, colour) in kinds.items():
        if members:
            ax.scatter(
                [p["x"] for p in members],
                [p["y"] for p in members],
                label=kind,
                marker=marker,
                s=180 if kind == "picked" else 45,
                facecolor="white" if kind == "out of budget" else colour,
                edgecolor=colour,
                zorder=3,
            )
    ax.margins(0.12)
    if max(point["x"] for point in points) >= 1000:
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    middle = sum(ax.get_xlim()) / 2
    for point in points:
        if point["picked"] or len(points) <= _MAX_LABELS:
            _name_point(ax, point, point["x"] > middle, above=-14 if point["picked"] else 5)
    add_legend(ax)
    label_axes(ax, x_label, y_label, title)
    return figure


def trade_off(points: list[Point], x_label: str, y_label: str, title: str) -> Figure:
    """Draw networks by cost (log scale) and benefit, and a line along the Pareto front.

    A network that another one is not worse than in both, and better than in one, is hollow. Each is
    named where there are at most ten; more are numbered, and the names stand beside.
    """
    is_crowded = len(points) > _MAX_LABELS
    figure, (ax,) = panels(1, 9.0 if is_crowded else 5.0, 5.2 if is_crowded else 4.4)
    front = pareto_front(points)
    for point in points:
        colour = COLOURS[1] if point["picked"] else COLOURS[0]
        face = colour if point in front else "white"
        ax.scatter([point["x"]], [point["y"]], s=60, facecolor=face, edgecolor=colour, zorder=3)
    steps = [point["x"] for point in front], [point["y"] for point in front]
    ax.plot(*steps, color=MUTED, linewidth=1.2, drawstyle="steps-post", zorder=2)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
    ax.xaxis.set_major_formatter(FuncFormatter(_shortly))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.margins(0.25, 0.15)
    if is_crowded:
        _number_points(ax, points)
    else:
        _name_points(ax, points)
    label_axes(ax, x_label, y_label, title)
    return figure


def pareto_front(points: list[Point]) -> list[Point]:
    """Return the points that no other beats: none is as cheap and as good, and better in one.

    Returns:
        By cost, ascending; so by benefit, too.
    """
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point["x"], -point["y"])):
        last = front[-1] if front else None
        if (
            last is None
            or point["y"] > last["y"]
            or (point["x"], point["y"]) == (last["x"], last["y"])
        ):
            front.append(point)
    return front


def main_effects(effects: dict[str, list[Effect]], metric: str) -> Figure:
    """Draw mean and spread of a metric for each value of each swept key, one panel per key.

    Args:
        effects: see `effects.main_effects`.
        metric: its name, on the shared y axis.
    """
    num_columns = min(3, max(1, len(effects)))
    num_rows = max(1, math.ceil(len(effects) / num_columns))
    width = max(4.0, 3.2 * num_columns)
    figure, axes = panels(num_columns, width, 3.4 * num_rows, num_rows, sharey=True)
    for number, (ax, (key, values)) in enumerate(zip(axes, effects.items(), strict=False)):
        _draw_effect(ax, values)
        label_axes(ax, "", metric if number % num_columns == 0 else "", key)
    for ax in axes[len(effects) :]:
        ax.set_axis_off()
    return figure


def _draw_effect(ax: Axes, values: list[Effect]) -> None:
    names = [f"{name}\n(n = {count})" for name, _, _, count in values]
    means = [mean for _, mean, _, _ in values]
    spreads = [std or 0.0 for _, _, std, _ in values]
    ax.errorbar(
        range(len(values)), means, spreads, color=COLOURS[0], ecolor=MUTED, marker="o", capsize=4
    )
    ax.set_xlim(-0.5, max(len(values), 1) - 0.5)
    ax.grid(False, axis="x")
    is_crowded = len(names) > 4 or max((len(name) for name, *_ in values), default=0) > 8
    name_ticks(ax, "x", names, rotation=40 if is_crowded else 0)


def _number_points(ax: Axes, points: list[Point]) -> None:
    """Write numbers at the points, one text for those that lie together, and a list beside."""
    low, high = math.log(min(p["x"] for p in points)), math.log(max(p["x"] for p in points))
    bottom, top = min(p["y"] for p in points), max(p["y"] for p in points)
    together: dict[tuple[int, int], list[int]] = {}
    for number, point in enumerate(points, 1):
        column = (math.log(point["x"]) - low) / max(high - low, 1e-9)
        row = (point["y"] - bottom) / max(top - bottom, 1e-9)
        together.setdefault((round(_CELLS * column), round(_CELLS * row)), []).append(number)
    for numbers in together.values():
        point = points[numbers[-1] - 1]
        ax.annotate(
            ", ".join(map(str, numbers)),
            (point["x"], point["y"]),
            xytext=(5, 5),
            textcoords="offset points",
            fontsize=SMALL_SIZE,
            color=INK,
        )
    ax.text(
        1.03,
        1.0,
        "\n".join(f"{number}  {point['name']}" for number, point in enumerate(points, 1)),
        transform=ax.transAxes,
        va="top",
        fontsize=SMALL_SIZE,
        color=INK,
        parse_math=False,
    )


def _name_points(ax: Axes, points: list[Point]) -> None:
    """Name points on a log axis, from below upwards, each name clear of the one below it."""
    logs = [math.log(point["x"]) for point in points]
    middle = (min(logs) + max(logs)) / 2
    low, high = ax.get_ylim()
    free = -math.inf  # above it there is no name yet
    for point in sorted(points, key=lambda point: point["y"]):
        at = _AXES_HEIGHT * (point["y"] - low) / (high - low)
        name_at = max(at, free)
        free = name_at + _LINE_HEIGHT * len(_in_lines(point["name"]).splitlines())
        to_the_left = math.log(point["x"]) > middle
        _name_point(ax, point, to_the_left, name_at - at - _LINE_HEIGHT / 3)


def _name_point(ax: Axes, point: Point, to_the_left: bool, above: float) -> None:
    ax.annotate(
        _in_lines(point["name"]),
        (point["x"], point["y"]),
        xytext=(-9 if to_the_left else 9, above),
        textcoords="offset points",
        ha="right" if to_the_left else "left",
        fontsize=TEXT_SIZE if point["picked"] else SMALL_SIZE,
        color=INK if point["kept"] else MUTED,
        parse_math=False,
    )


def _in_lines(name: str) -> str:
    return fill(name, _NAME_WIDTH, max_lines=2, placeholder=" ...")


def _shortly(number: float, _: object) -> str:
    """Write a cost: 0.05, 20, 20k, 3M."""
    return EngFormatter(sep="")(number) if number >= 1000 else f"{number:g}"


def _name_x(ax: Axes, x: list[float]) -> None:
    """Let the x axis be logarithmic, with a tick at each value."""
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(x)


def _line_style(number: int) -> tuple[str, str]:
    """Dashes change with each line too, so that curves differ in print without colour."""
    return COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]
