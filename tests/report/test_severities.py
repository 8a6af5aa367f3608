from __future__ import annotations

import io

from distill_lab.report.severities import severity_curves

CURVES = {
    name: {"teacher": [0.9, 0.8, 0.5], "student": [0.8, 0.8, 0.7]}
    for name in ("noise", "blur", "contrast", "shift", "hidden_words")
}


def draw(figure):
    figure.savefig(io.BytesIO(), format="png")
    return [ax for ax in figure.axes if ax.axison]


def test_each_corruption_has_a_panel_with_a_line_for_each_network():
    axes = draw(severity_curves(CURVES, "test accuracy"))
    assert [ax.get_title(loc="left") for ax in axes] == list(CURVES)
    assert [list(line.get_ydata()) for line in axes[0].lines] == list(CURVES["noise"].values())
    assert [line.get_xdata().tolist() for line in axes[0].lines] == [[0, 1, 2]] * 2


def test_networks_are_told_apart_without_colour_and_named_once():
    axes = draw(severity_curves(CURVES, "test accuracy"))
    assert len({(line.get_linestyle(), line.get_marker()) for line in axes[0].lines}) == 2
    assert [ax.get_legend() is not None for ax in axes] == [True, False, False, False, False]


def test_panels_share_the_axis_of_values_which_begins_at_zero():
    axes = draw(severity_curves(CURVES, "test accuracy"))
    assert len({ax.get_ylim() for ax in axes}) == 1
    assert axes[0].get_ylim()[0] == 0
    assert [ax.get_ylabel() for ax in axes[:2]] == ["test accuracy", ""]
