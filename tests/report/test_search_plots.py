"""Figures of a search: what they show is what they were given."""

from __future__ import annotations

import pytest

from distill_lab.report.search_plots import Slice, front, history, importance, slices


def test_the_history_shows_the_best_so_far():
    figure = history([0, 2, 3], [0.5, 0.4, 0.7], lower_is_better=False, label="quality")
    (line,) = figure.axes[0].lines
    assert list(line.get_ydata()) == [0.5, 0.5, 0.7]
    figure = history([0, 2, 3], [5, 4, 7], lower_is_better=True, label="latency")
    assert list(figure.axes[0].lines[0].get_ydata()) == [5, 4, 4]


def test_each_key_has_a_panel_with_its_trials_and_the_best_as_a_star():
    keys = [
        Slice("lr", [0.1, 0.001, 0.01], log=True),
        Slice("loss", ["ce", "ce+kd", "ce"], order=["ce", "ce+kd"]),
    ]
    figure = slices(keys, [0.1, 0.3, 0.2], [True, True, False], best=1, label="quality")
    lr, loss = figure.axes
    assert lr.get_xscale() == "log"
    assert [text.get_text() for text in loss.get_xticklabels()] == ["ce", "ce+kd"]
    complete, pruned, star = lr.collections
    assert complete.get_offsets().tolist() == [[0.1, 0.1], [0.001, 0.3]]
    assert pruned.get_offsets().tolist() == [[0.01, 0.2]]
    assert star.get_offsets().tolist() == [[0.001, 0.3]]
    assert loss.collections[-1].get_offsets().tolist() == [[1.0, 0.3]]


def test_the_key_that_matters_most_is_on_top():
    figure = importance({"lr": 0.7, "seed": 0.1, "temperature": 0.2}, "quality")
    ax = figure.axes[0]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["seed", "temperature", "lr"]
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([0.1, 0.2, 0.7])


def test_trials_that_are_not_beaten_are_joined():
    figure = front([3, 1, 2], [0.9, 0.7, 0.6], [True, True, False], "latency, ms", "quality")
    (line,) = figure.axes[0].lines
    assert list(line.get_xdata()) == [1, 3]
    assert list(line.get_ydata()) == [0.7, 0.9]
