from __future__ import annotations

import io
import math
import sys

import pytest
from matplotlib.figure import Figure

from distill_lab.report import plots

EFFECTS = {
    "temperature": [("1", 0.90, 0.01, 3), ("4", 0.93, None, 1)],
    "loss": [("ce", 0.90, 0.01, 2), ("a_rather_long_name", 0.92, 0.02, 2)],
}


def draw(figure):
    assert isinstance(figure, Figure)
    figure.savefig(io.BytesIO(), format="png")
    return figure.axes


def candidates(count):
    return [
        {"name": f"n{i}", "x": float(i), "y": i**0.5, "kept": i < 3, "picked": i == 2}
        for i in range(count)
    ]


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_lines_draws_every_series_with_its_name():
    figure = plots.lines([1, 2, 3], {"a": [1, 2, 3], "b": [3, math.nan, 1]}, "t", "epoch", "loss")
    (ax,) = draw(figure)
    assert [line.get_ydata()[0] for line in ax.lines] == [1, 3]
    assert [entry.get_text() for entry in ax.get_legend().get_texts()] == ["a", "b"]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title(loc="left")) == ("epoch", "loss", "t")


def test_lines_over_powers_are_logarithmic_with_a_tick_at_each_x():
    figure = plots.lines([1, 8, 64], {"a": [1, 50, 900]}, "", "x", "y", is_logarithmic=True)
    (ax,) = draw(figure)
    assert (ax.get_xscale(), ax.get_yscale(), list(ax.get_xticks())) == ("log", "log", [1, 8, 64])
    assert plots.lines([1, 8], {"a": [1, 2]}, "", "x", "y").axes[0].get_xscale() == "linear"


def test_more_lines_than_colours_are_still_told_apart():
    series = {f"s{i}": [float(i), i + 1.0] for i in range(10)}
    (ax,) = draw(plots.lines([0, 1], series, "", "x", "y"))
    assert len({(line.get_color(), line.get_linestyle()) for line in ax.lines}) == 10


def test_two_axes_shades_the_span():
    curves = ("entropy", [0.1, 1.0, 2.0]), ("variance", [0.01, 0.02, 0.005])
    ax, twin = draw(plots.two_axes([1, 4, 16], *curves, "temperature", (2.0, 8.0)))
    assert (ax.get_ylabel(), twin.get_ylabel()) == ("entropy", "variance")
    (span,) = ax.patches
    assert (span.get_x(), span.get_width()) == (2.0, 6.0)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "4", "16"]


def test_two_axes_without_a_span_shades_nothing():
    ax, _ = draw(plots.two_axes([1, 2], ("a", [1, 2]), ("b", [1, 2]), "x", None))
    assert not ax.patches


def test_pareto_names_all_of_few_candidates():
    (ax,) = draw(plots.pareto(candidates(5), "MACs", "accuracy", "t"))
    assert texts(ax) == ["n0", "n1", "n2", "n3", "n4"]
    kinds = [entry.get_text() for entry in ax.get_legend().get_texts()]
    assert kinds == ["out of budget", "in budget", "picked"]


def test_pareto_names_only_the_picked_of_many():
    (ax,) = draw(plots.pareto(candidates(30), "MACs", "accuracy", "t"))
    assert texts(ax) == ["n2"]
    assert [len(c.get_offsets()) for c in ax.collections] == [27, 2, 1]


@pytest.mark.parametrize(("count", "num_hidden"), [(1, 0), (2, 0), (3, 0), (4, 2)])
def test_main_effects_has_one_panel_per_key(count, num_hidden):
    effects = {f"key{i}": EFFECTS["loss"] for i in range(count)}
    axes = draw(plots.main_effects(effects, "accuracy"))
    shown = [ax for ax in axes if ax.axison]
    assert [ax.get_title(loc="left") for ax in shown] == list(effects)
    assert len(axes) - len(shown) == num_hidden


def test_main_effects_labels_each_value_with_its_number_of_runs():
    ax, _ = draw(plots.main_effects(EFFECTS, "accuracy"))
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1\n(n = 3)", "4\n(n = 1)"]
    assert list(ax.lines[0].get_ydata()) == [0.90, 0.93]


def test_main_effects_of_a_sweep_in_which_all_failed_is_drawn():
    draw(plots.main_effects({"loss": []}, "accuracy"))


def test_text_of_users_is_not_read_as_mathematics():
    broken = r"$\frac{$"
    draw(plots.lines([1, 2], {broken: [1, 2], "b": [2, 1]}, broken, broken, broken))
    draw(plots.pareto([{**candidates(1)[0], "name": broken}], broken, broken, broken))
    draw(plots.main_effects({broken: [(broken, 1.0, None, 1)]}, broken))


def test_pyplot_and_its_global_state_are_not_used():
    draw(plots.lines([1], {"a": [1]}, "", "", ""))
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


def test_more_than_ten_networks_are_numbered_and_named_beside_the_axes():
    points = [
        {"name": f"net {i}", "x": 10.0**i, "y": 0.1 * i, "kept": True, "picked": False}
        for i in range(10)
    ]
    assert texts(draw(plots.trade_off(points, "MACs", "accuracy", ""))[0])[9] == "net 9"
    points += [{"name": "twin", "x": 1.0001e9, "y": 0.9, "kept": True, "picked": True}]
    *numbers, names = texts(draw(plots.trade_off(points, "MACs", "accuracy", ""))[0])
    assert numbers == [*map(str, range(1, 10)), "10, 11"]
    assert names.splitlines()[-1] == "11  twin"


def test_the_pareto_front_is_what_no_other_network_beats():
    costs = {"a": (1, 0.5), "b": (2, 0.4), "c": (3, 0.9), "d": (3, 0.8), "e": (9, 0.9)}
    points = [
        {"name": name, "x": x, "y": y, "kept": True, "picked": False}
        for name, (x, y) in costs.items()
    ]
    assert [point["name"] for point in plots.pareto_front(points)] == ["a", "c"]


def test_networks_that_are_level_in_both_are_both_on_the_front():
    points = [
        {"name": name, "x": 1.0, "y": 0.5, "kept": True, "picked": False} for name in ("a", "b")
    ]
    assert len(plots.pareto_front(points)) == 2
