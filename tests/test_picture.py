from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from distill_lab.picture import png


@pytest.fixture
def figure():
    made = Figure(figsize=(2, 1), layout="constrained", facecolor="white")
    made.subplots().plot([0, 1], [0, 1], color="red", linewidth=4)
    return made


def pixels(figure):
    return np.asarray(Image.open(io.BytesIO(png(figure))), dtype=float)


def test_a_figure_is_as_large_as_its_inches_and_shows_what_is_drawn(figure):
    image = pixels(figure)
    assert image.shape == (160, 320, 3)
    assert (image[0, 0] == 255).all()
    red = (image[..., 0] > 200) & (image[..., 1:] < 50).all(-1)
    assert red.sum() > 100


def test_it_looks_as_matplotlib_saves_it(figure):
    buffer = io.BytesIO()
    ours = pixels(figure)
    figure.savefig(buffer, format="png", dpi=160)
    theirs = np.asarray(Image.open(buffer).convert("RGB"), dtype=float)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).mean() < 1  # of 255; text may sit half a pixel elsewhere


def test_a_figure_is_drawn_once(figure):
    first = png(figure)
    figure.suptitle("added later")
    assert png(figure) is first


def test_another_figure_is_another_picture(figure):
    other = Figure(figsize=(2, 1))
    assert png(other) != png(figure)
