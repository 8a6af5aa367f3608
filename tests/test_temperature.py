from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml

from distill_lab.contracts import Component
from distill_lab.temperature import Constant, Cosine, Linear, Stop, Temperature, Warmup

FILES = sorted((Path(__file__).parents[1] / "conf" / "temperature").glob("*.yaml"))


@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
def test_constant_does_not_change(progress):
    assert Constant(4.0)(progress) == 4.0


@pytest.mark.parametrize(
    ("progress", "expected"), [(0.0, 8.0), (0.25, 6.5), (0.5, 5.0), (0.75, 3.5), (1.0, 2.0)]
)
def test_linear_by_hand(progress, expected):
    assert Linear(8.0, 2.0)(progress) == pytest.approx(expected)


# 2 + 6 (1 + cos(pi p)) / 2 with cos(pi / 3) = 1/2 and cos(2 pi / 3) = -1/2.
@pytest.mark.parametrize(
    ("progress", "expected"), [(0.0, 8.0), (1 / 3, 6.5), (0.5, 5.0), (2 / 3, 3.5), (1.0, 2.0)]
)
def test_cosine_by_hand(progress, expected):
    assert Cosine(8.0, 2.0)(progress) == pytest.approx(expected)


@pytest.mark.parametrize("schedule", [Linear, Cosine])
def test_a_schedule_may_rise(schedule):
    rising = schedule(1.0, 5.0)
    values = [rising(step / 10) for step in range(11)]
    assert values == sorted(values)
    assert (values[0], values[-1]) == (pytest.approx(1.0), pytest.approx(5.0))


def test_cosine_is_slower_than_linear_at_both_ends():
    linear, cosine = Linear(8.0, 2.0), Cosine(8.0, 2.0)
    assert cosine(0.1) > linear(0.1)
    assert cosine(0.9) < linear(0.9)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_a_temperature_must_be_above_zero(value):
    with pytest.raises(ValueError, match=f"value: must be > 0, got {value}"):
        Constant(value)


@pytest.mark.parametrize("schedule", [Linear, Cosine])
@pytest.mark.parametrize("name", ["start", "end"])
def test_both_ends_must_be_above_zero(schedule, name):
    with pytest.raises(ValueError, match=rf"{name}: must be > 0, got 0\.0"):
        schedule(**({"start": 1.0, "end": 1.0} | {name: 0.0}))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_yaml_makes_the_schedule_it_is_called_after(path):
    node = yaml.safe_load(path.read_text())
    made = Component(node.pop("_target_"), node).make()
    assert isinstance(made, Temperature)
    assert type(made).__name__.lower() == path.stem
    assert made(0.0) > 0


@pytest.mark.parametrize(("progress", "by_hand"), [(0.0, 1.0), (0.1, 3.0), (0.2, 5.0), (1.0, 5.0)])
def test_a_warm_up_by_hand(progress, by_hand):
    assert Warmup(1.0, 5.0, 0.2)(progress) == pytest.approx(by_hand)


@pytest.mark.parametrize(("progress", "by_hand"), [(0.0, 4.0), (0.19, 4.0), (0.2, 2.0), (1.0, 2.0)])
def test_a_stop_by_hand(progress, by_hand):
    assert Stop(4.0, 2.0, 0.2)(progress) == by_hand


@pytest.mark.parametrize("schedule", [Warmup, Stop])
@pytest.mark.parametrize("fraction", [0.0, 1.5])
def test_a_first_part_is_a_part_of_the_training(schedule, fraction):
    with pytest.raises(ValueError, match=r"fraction: must be in \(0, 1\], got"):
        schedule(1.0, 5.0, fraction)
