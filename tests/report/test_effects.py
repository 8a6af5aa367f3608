from __future__ import annotations

import pytest

from distill_lab.report.effects import main_effects, seed_spread

ROWS = [
    {"temperature": 20.0, "loss": "kd", "seed": 0, "accuracy": 0.9},
    {"temperature": 4.0, "loss": "kd", "seed": 0, "accuracy": 0.8},
    {"temperature": 4.0, "loss": "ce", "seed": 0, "accuracy": 0.5},
    {"temperature": 4.0, "loss": "kd", "seed": 1, "accuracy": 0.6},
    {"temperature": 4.0, "loss": "ce", "seed": 1, "accuracy": None},
]


def test_means_are_over_all_runs_with_a_value():
    effects = main_effects(ROWS, ["loss"], "accuracy")
    # 0.9, 0.8, 0.6 lie 2/15, 1/30 and -1/6 from their mean.
    std = ((4 / 225 + 1 / 900 + 1 / 36) / 2) ** 0.5
    assert effects["loss"] == [
        ("kd", pytest.approx(2.3 / 3), pytest.approx(std), 3),
        ("ce", 0.5, None, 1),
    ]


def test_numbers_are_in_order_of_size():
    effects = main_effects(ROWS, ["temperature"], "accuracy")
    assert [(name, count) for name, _, _, count in effects["temperature"]] == [("4", 3), ("20", 1)]


def test_values_that_mix_numbers_and_none_keep_their_order():
    rows = [{"clip": value, "accuracy": 1.0} for value in (5.0, None, 1.0)]
    names = [name for name, *_ in main_effects(rows, ["clip"], "accuracy")["clip"]]
    assert names == ["5", "\u2013", "1"]


def test_a_sweep_in_which_all_failed_has_no_effects():
    assert main_effects([{"loss": "kd", "accuracy": None}], ["loss"], "accuracy") == {"loss": []}


def test_runs_that_differ_in_seed_only_are_joined():
    # 0.8 and 0.6: mean 0.7, each 0.1 away, n - 1 = 1.
    assert seed_spread(ROWS, ["temperature", "loss"], "accuracy") == [
        {"temperature": 20.0, "loss": "kd", "mean": 0.9, "std": None, "n": 1},
        {
            "temperature": 4.0,
            "loss": "kd",
            "mean": pytest.approx(0.7),
            "std": pytest.approx(0.02**0.5),
            "n": 2,
        },
        {"temperature": 4.0, "loss": "ce", "mean": 0.5, "std": None, "n": 1},
    ]
