"""Matrices and calibration of the report: plain values in, a figure out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike

from distill_lab.measure.scores import Reliability
from distill_lab.report.style import (
    COLOURS,
    INK,
    MUTED,
    SMALL_SIZE,
    add_legend,
    label_axes,
    name_ticks,
    panels,
)

_MAX_ANNOTATED = 14  # columns; with more, numbers would overlap at half width
_MIN_FRACTION = 0.01  # of the samples; a bin with fewer is noise
_MAX_NAMED = 25  # classes; with more, tick labels would overlap


def heat_map(
    matrix: ArrayLike,
    row_names: list[str],
    column_names: list[str],
    title: str,
    row_label: str,
    column_label: str,
) -> Figure:
    """Draw a matrix of values in [0, 1], such as CKA, with its numbers where they fit.

    The colours always span [0, 1], so that two figures can be compared.

    Args:
        matrix: (rows, columns).
        row_names: one per row.
        column_names: one per column.
        title: above the axes.
        row_label: what the rows are.
        column_label: what the columns are.
    """
    values = np.asarray(matrix, dtype=float)
    figure, (ax,) = panels(1, 3.0 + 0.5 * values.shape[1], 2.2 + 0.36 * values.shape[0])
    image = _draw_cells(ax, values, [[f"{value:.2f}" for value in row] for row in values])
    name_ticks(ax, "x", column_names, rotation=40)
    name_ticks(ax, "y", row_names)
    bar = figure.colorbar(image, ax=ax, fraction=0.05)
    bar.ax.tick_params(labelsize=SMALL_SIZE, color=MUTED, labelcolor=INK)
    bar.outline.set_visible(False)
    label_axes(ax, column_label, row_label, title)
    return figure


def confusion_matrices(matrices: Mapping[str, ArrayLike], class_names: list[str]) -> Figure:
    """Draw confusion matrices side by side: colours are fractions of each row, numbers are counts.

    Args:
        matrices: name of a network -> (K, K) counts, rows true, columns predicted.
        class_names: K names.
    """
    side = 1.6 + min(4.0, 0.26 * len(class_names))
    figure, axes = panels(len(matrices), side * len(matrices), side + 0.4, sharey=True)
    for number, (ax, (name, matrix)) in enumerate(zip(axes, matrices.items(), strict=True)):
        counts = np.asarray(matrix, dtype=int)
        totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
        _draw_cells(ax, counts / totals, [[str(c) if c else "" for c in row] for row in counts])
        if len(class_names) <= _MAX_NAMED:
            is_short = max(map(len, class_names)) <= 2
            name_ticks(ax, "x", class_names, rotation=0 if is_short else 40)
            name_ticks(ax, "y", class_names)
        label_axes(ax, "predicted", "" if number else "true", name)
    return figure


def reliability_diagram(bins: Mapping[str, Reliability]) -> Figure:
    """Draw accuracy against confidence; the diagonal is perfect calibration.

    The area of a point grows with the fraction of samples in its bin; a bin with less than one in
    a hundred is left out, as its accuracy says nothing.

    Args:
        bins: name of a network -> its reliability.
    """
    figure, (ax,) = panels(1, 5.0, 4.4)
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":", label="perfect")
    for number, (name, reliability) in enumerate(bins.items()):
        colour, marker = COLOURS[number % len(COLOURS)], "os^DvP"[number % 6]
        least = min(_MIN_FRACTION, 1 / len(reliability.fraction))
        filled = [
            (confidence, accuracy, 15 + 250 * fraction)
            for confidence, accuracy, fraction in zip(
                reliability.confidence, reliability.accuracy, reliability.fraction, strict=True
            )
            if confidence is not None and accuracy is not None and fraction >= least
        ]
        if not filled:
            continue
        x, y, sizes = zip(*filled, strict=True)
        ax.plot(x, y, color=colour, linewidth=1.2)
        ax.plot([], [], color=colour, marker=marker, markersize=6, label=name)
        ax.scatter(x, y, sizes, color=colour, marker=marker, alpha=0.75, linewidths=0)
    ax.set_xlim(0, 1.03)
    ax.set_ylim(0, 1.03)
    add_legend(ax, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    label_axes(ax, "confidence", "accuracy")
    return figure


def _draw_cells(ax: Axes, shades: np.ndarray, texts: list[list[str]]) -> AxesImage:
    image = ax.imshow(shades, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    if shades.shape[1] <= _MAX_ANNOTATED:
        for row, line in enumerate(texts):
            for column, cell in enumerate(line):
                colour = "white" if shades[row, column] > 0.55 else INK
                ax.text(column, row, cell, ha="center", va="center", color=colour, fontsize=9)
    return image
