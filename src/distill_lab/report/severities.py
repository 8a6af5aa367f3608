"""Quality against severity, one panel for each corruption: plain values in, a figure out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from distill_lab.report.style import COLOURS, DASHES, add_legend, label_axes, panels

_COLUMNS = 4


def severity_curves(curves: Mapping[str, Mapping[str, Sequence[float]]], y_label: str) -> Figure:
    """Draw how networks hold as their inputs get worse.

    Args:
        curves: corruption -> network -> value at severity 0 (as they are), 1, 2, ...
        y_label: what the values are.
    """
    num_columns = min(_COLUMNS, len(curves))
    num_rows = math.ceil(len(curves) / num_columns)
    width = max(4.6, 2.4 * num_columns)
    figure, axes = panels(num_columns, width, 2.9 * num_rows, num_rows, sharey=True)
    for number, (ax, (corruption, series)) in enumerate(zip(axes, curves.items(), strict=False)):
        for place, (network, values) in enumerate(series.items()):
            ax.plot(
                range(len(values)),
                values,
                label=network,
                color=COLOURS[place % len(COLOURS)],
                linestyle=DASHES[place % len(DASHES)],
                marker="os^D"[place % 4],
                markersize=4,
            )
        ax.set_ylim(0, 1.02)
        ax.set_xticks(range(max(map(len, series.values()))))
        label_axes(ax, "severity", "" if number % num_columns else y_label, corruption)
    for ax in axes[len(curves) :]:
        ax.set_axis_off()
    add_legend(axes[0], loc="lower left")
    return figure
