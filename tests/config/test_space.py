"""The space of a search: which are sound, what is wrong with the others, what they are made of."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from distill_lab.config.check import problems
from distill_lab.config.compose import SEARCH, compose
from distill_lab.config.space import Choices, Range, axes, written


def problems_with(space, **changes):
    config = compose([])
    config[SEARCH] |= {"space": space, **changes}
    return problems(config)


def axes_of(space):
    return axes(space, compose([]))


def test_a_search_is_no_part_of_the_regime_of_a_run():
    config = compose(["regime.search.num_trials=3"])
    assert "search" not in config["regime"]
    assert config[SEARCH]["num_trials"] == 3


@pytest.mark.parametrize(
    ("key", "given", "expected"),
    [
        ("regime.lr", {"low": 1, "high": 2}, Range("regime.lr", 1, 2, False, None, False)),
        (
            "regime.epochs",
            {"low": 1, "high": 8, "log": True},
            Range("regime.epochs", 1, 8, True, None, True),
        ),
        ("seed", {"low": 0, "high": 9}, Range("seed", 0, 9, False, None, True)),
        (
            "teacher.dropout",
            {"low": 0, "high": 1, "step": 0.5},
            Range("teacher.dropout", 0, 1, False, 0.5, False),
        ),
        (
            "design.max_parameters_fraction",
            {"low": 0.1, "high": 0.4},
            Range("design.max_parameters_fraction", 0.1, 0.4, False, None, False),
        ),
        ("loss", [["ce"], ["ce", "kd"]], Choices("loss", ("[ce]", "[ce,kd]"))),
        ("regime.clip_norm", [None, 1], Choices("regime.clip_norm", ("null", "1"))),
    ],
)
def test_a_key_is_a_list_of_choices_or_a_range_of_what_it_takes(key, given, expected):
    assert problems_with({key: given}) == []
    assert axes_of({key: given}) == [expected]


@pytest.mark.parametrize(
    ("key", "choices"), [("data", ["digits", "fake"]), ("data.split_seed", [0, 1])]
)
def test_keys_that_change_the_data_are_refused_with_the_sweep_that_takes_them(key, choices):
    [problem] = problems_with({key: choices})
    assert f"regime.search.space: {key}: changes the data" in problem
    assert f"Sweep it: distill-lab -m {key}=" in problem


def test_the_points_of_a_range_are_whole_numbers_or_steps():
    epochs, dropout = axes_of(
        {
            "regime.epochs": {"low": 2, "high": 7, "step": 2},
            "teacher.dropout": {"low": 0.1, "high": 0.5, "step": 0.2},
        }
    )
    assert epochs.points == (2, 4, 6)
    assert all(isinstance(point, int) for point in epochs.points)
    assert dropout.points == (0.1, 0.3, 0.5)


@pytest.mark.parametrize(
    ("key", "given", "problem"),
    [
        ("regime.lr", [1], "must list at least two different choices, got [1]."),
        ("regime.lr", [1, 1], "must list at least two different choices"),
        ("regime.lr", 3, "must be a list of choices, or {low: <number>, high: <number>}"),
        ("regime.lr", {"low": 1}, "high must be a finite number, got null."),
        ("regime.lr", {"low": "a", "high": 1}, "low must be a finite number, got a."),
        ("regime.lr", {"low": 1, "high": float("inf")}, "high must be a finite number"),
        ("regime.lr", {"low": 2, "high": 1}, "low must be < high, got low 2 and high 1."),
        ("regime.lr", {"low": 1, "hihg": 2}, "not 'hihg'. Did you mean 'high'?"),
        ("regime.lr", {"low": 0, "high": 1, "log": True}, "low must be > 0 where log is true"),
        ("regime.lr", {"low": 1, "high": 2, "log": 1}, "log must be true or false, got 1."),
        ("regime.lr", {"low": 1, "high": 2, "step": 2}, "step must be > 0 and <= high - low"),
        (
            "regime.lr",
            {"low": 1, "high": 2, "step": 1, "log": True},
            "a range has a step or log: true, not both.",
        ),
        ("tracking.uri", ["a", "b"], "says where or whether a run is done"),
        ("regime.search.num_trials", [1, 2], "says where or whether a run is done"),
        ("evaluation.refine.rounds", [0, 2], "says where or whether a run is done"),
        ("+regime.lr", [1, 2], "leave the + out"),
        ("architecture", ["a", "b"], "choose it as architecture@teacher or architecture@student."),
        (
            "temperature",
            {"low": 1, "high": 2},
            "is a group of options; list those to try: temperature:[",
        ),
    ],
)
def test_what_is_wrong_with_a_key_is_said(key, given, problem):
    (found,) = problems_with({key: given})
    assert found.startswith(f"regime.search.space: {key}: ")
    assert problem in found


def test_all_that_is_wrong_with_a_space_is_said_at_once():
    found = problems_with({"regime.lr": [1], "regime.epochs": {"low": 3, "high": 1}})
    assert len(found) == 2


@pytest.mark.parametrize(
    ("sampler", "space", "problem"),
    [
        ("grid", {"regime.lr": {"low": 0.1, "high": 1}}, "add a step, or list its values"),
        ("grid", {"regime.epochs": {"low": 1, "high": 9, "log": True}}, "list its values"),
        (
            "grid",
            {"regime.epochs": {"low": 1, "high": 300}, "seed": {"low": 1, "high": 300}},
            "the grid has 90,000 points, more than 10,000",
        ),
        ("cma_es", {"regime.lr": {"low": 0.1, "high": 1}}, "at least two keys, got 1"),
        (
            "cma_es",
            {"regime.lr": {"low": 0.1, "high": 1}, "seed": [1, 2]},
            "seed: CMA-ES varies numbers alone",
        ),
    ],
)
def test_what_a_sampler_cannot_do_is_said(sampler, space, problem):
    (found,) = problems_with(space, sampler=sampler)
    assert problem in found


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"num_trials": None}, "num_trials: must be given where max_minutes is null"),
        ({"objectives": []}, "objectives: must be a list of different names, not empty"),
        ({"objectives": ["speed"]}, "objectives: must be a list of one of 'quality', 'latency_ms'"),
        ({"objectives": ["macs"], "pruner": "median"}, "must be [quality] where a pruner"),
        ({"objectives": ["quality", "macs"], "sampler": "cma_es"}, "a single one where"),
        ({"storage": "search.db"}, "the address of a database, e.g. sqlite:///search.db"),
        ({"study": " "}, "study: must be a name, not empty"),
        ({"prune_from_epoch": 0}, "prune_from_epoch: must be > 0, got 0."),
        ({"prune_from_trial": -1}, "prune_from_trial: must be >= 0, got -1."),
        ({"max_minutes": 0}, "max_minutes: must be > 0, got 0."),
    ],
)
def test_settings_of_a_search_check_their_ranges(changes, problem):
    (found,) = problems_with({}, **changes)
    assert problem in found


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["evaluation.refine.rounds=1"], "evaluation.refine.rounds: must be 0"),
        (["chain.generations=2", "regime.search.pruner=median"], "regime.search.pruner: must be"),
    ],
)
def test_what_a_search_cannot_stand_beside_is_said(overrides, problem):
    space = "regime.search.space={regime.lr:[0.1,0.2]}"
    (found,) = problems(compose([*overrides, space]))
    assert found.startswith(problem)
    assert problems(compose(overrides)) == []


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        0.25,
        1e-7,
        "kd",
        "null",
        "True",
        "1e3",
        "a b, c",
        "it's",
        [1, [2, "x y"]],
        {"grid": [[32], [64]]},
        [],
    ],
    ids=repr,
)
def test_a_written_value_is_read_back_as_it_was(value):
    parsed = OverridesParser.create().parse_override(f"key={written(value)}")
    assert not parsed.is_sweep_override()
    read = parsed.value()
    assert str(read) == str(value) if isinstance(value, str) else read == value


@pytest.mark.parametrize(
    "space", [{"chain.generations": [1, 2]}, {"chain.assistants": [[], ["mlp_30"]]}]
)
def test_a_search_over_chains_has_no_pruner(space):
    assert problems_with(space) == []
    (found,) = problems_with(space, pruner="median")
    assert found.startswith("regime.search.pruner: must be off where there is a chain of passes")
