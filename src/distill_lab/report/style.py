"""The one look of all figures: colours, type sizes and bare axes.

Figures are built on matplotlib's `Figure` class, never on pyplot, so they leave no global state and
can be drawn in any thread. No text is read as mathematics: a `$` in a class name is a dollar sign.
"""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart by readers with any common colour blindness; without its
# yellow, which is too pale for lines on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("-", "--", ":", "-.")
INK = "#1f2933"
MUTED = "#7b8794"
PALE = "#e4e7eb"
TEXT_SIZE = 12  # points; still 8 when a 6 inch figure is shown at half of an 800 px page
SMALL_SIZE = 10


def panels(
    num_columns: int, width: float, height: float, num_rows: int = 1, **options: Any
) -> tuple[Figure, list[Axes]]:
    """Return an empty figure and its styled axes, row by row.

    Args:
        num_columns: axes side by side.
        width: of the figure, inches.
        height: of the figure, inches.
        num_rows: rows of axes.
        options: passed to `Figure.subplots`.
    """
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.subplots(num_rows, num_columns, squeeze=False, **options)
    axes = list(grid.flat)
    for ax in axes:
        style_axes(ax)
    return figure, axes


def style_axes(ax: Axes) -> None:
    """Take the box away and leave two thin axis lines and a pale grid."""
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(MUTED)
    ax.tick_params(labelsize=SMALL_SIZE, color=MUTED, labelcolor=INK, length=3)
    ax.grid(True, color=PALE, linewidth=0.8)
    ax.set_axisbelow(True)


def label_axes(ax: Axes, x_label: str, y_label: str, title: str = "") -> None:
    """Write the axis labels, and the title where there is one."""
    plain: dict[str, Any] = {"color": INK, "fontsize": TEXT_SIZE, "parse_math": False}
    ax.set_xlabel(x_label, **plain)
    ax.set_ylabel(y_label, **plain)
    if title:
        ax.set_title(title, loc="left", fontweight="bold", **plain)


def name_ticks(ax: Axes, axis: str, names: list[str], rotation: float = 0) -> None:
    """Put one name at each of 0, 1, 2, ... of the "x" or "y" axis."""
    options: dict[str, Any] = {"rotation": rotation, "parse_math": False}
    if rotation:
        options |= {"ha": "right", "rotation_mode": "anchor"}
    set_ticks = ax.set_xticks if axis == "x" else ax.set_yticks
    set_ticks(range(len(names)), names, **options)


def add_legend(ax: Axes, **options: Any) -> None:
    """Add a legend without a frame."""
    legend = ax.legend(fontsize=SMALL_SIZE, frameon=False, labelcolor=INK, **options)
    for entry in legend.get_texts():
        entry.set_parse_math(False)
