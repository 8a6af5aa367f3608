from __future__ import annotations

import io

import pytest
import torch
from matplotlib.figure import Figure

from distill_lab.measure.scores import Reliability
from distill_lab.report import grids


def draw(figure):
    assert isinstance(figure, Figure)
    figure.savefig(io.BytesIO(), format="png")
    return figure.axes


def ticks(labels):
    return [label.get_text() for label in labels]


def test_heat_map_writes_its_numbers_and_names():
    matrix = torch.tensor([[0.1, 0.25, 1.0], [0.5, 0.0, 0.333]])
    ax, _ = draw(grids.heat_map(matrix, ["a", "b"], ["x", "y", "z"], "t", "student", "teacher"))
    assert [t.get_text() for t in ax.texts] == ["0.10", "0.25", "1.00", "0.50", "0.00", "0.33"]
    assert ticks(ax.get_yticklabels()) == ["a", "b"]
    assert ticks(ax.get_xticklabels()) == ["x", "y", "z"]
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("student", "teacher")


def test_heat_map_of_many_layers_leaves_numbers_out():
    names = [f"layer{i}" for i in range(40)]
    ax, _ = draw(grids.heat_map(torch.rand(3, 40), names[:3], names, "t", "r", "c"))
    assert not ax.texts


def test_confusion_matrices_share_one_figure_and_show_counts():
    matrices = {"teacher": [[8, 2], [0, 5]], "student": torch.tensor([[7, 3], [1, 4]])}
    first, second = draw(grids.confusion_matrices(matrices, ["cat", "dog"]))
    assert [t.get_text() for t in first.texts] == ["8", "2", "", "5"]
    assert [ax.get_title(loc="left") for ax in (first, second)] == ["teacher", "student"]
    # Colours are fractions of the row, so that classes of different size compare.
    assert first.images[0].get_array().tolist() == [[0.8, 0.2], [0.0, 1.0]]


def test_a_class_without_samples_is_drawn_empty():
    (ax,) = draw(grids.confusion_matrices({"a": [[0, 0], [1, 3]]}, ["cat", "dog"]))
    assert ax.images[0].get_array().tolist() == [[0.0, 0.0], [0.25, 0.75]]


def test_hundred_classes_have_neither_names_nor_numbers():
    (ax,) = draw(grids.confusion_matrices({"a": torch.eye(100)}, [f"class{i}" for i in range(100)]))
    assert not ax.texts
    assert "class7" not in ticks(ax.get_xticklabels())


def test_reliability_leaves_empty_bins_out():
    bins = Reliability((None, 0.6, 0.9), (None, 0.5, 1.0), (0.0, 0.25, 0.75))
    (ax,) = draw(grids.reliability_diagram({"teacher": bins}))
    assert list(ax.lines[1].get_xdata()) == [0.6, 0.9]
    assert ax.collections[0].get_offsets().tolist() == [[0.6, 0.5], [0.9, 1.0]]
    assert ticks(ax.get_legend().get_texts()) == ["perfect", "teacher"]


@pytest.mark.parametrize("name", [r"$\frac{$", r"a$\no$c"])
def test_text_of_users_is_not_read_as_mathematics(name):
    bins = Reliability((0.6,), (0.5,), (1.0,))
    draw(grids.heat_map([[0.5]], [name], [name], name, name, name))
    draw(grids.confusion_matrices({name: [[1, 0], [0, 1]]}, [name, "b"]))
    draw(grids.reliability_diagram({name: bins}))
