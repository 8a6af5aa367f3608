"""The leaderboard: which weight is taken, what is averaged, that it follows from its runs."""

from __future__ import annotations

from statistics import stdev

import pytest

from distill_lab.config.groups import options
from distill_lab.launch import checked
from experiments.method_zoo.__main__ import HERE
from experiments.method_zoo.leaderboard import (
    MARGIN,
    Run,
    chosen_multiplier,
    leaderboard,
    read_runs,
    write,
)
from experiments.method_zoo.methods import MULTIPLIERS, methods


def run(method="kd", multiplier=1.0, seed=0, validation=0.8, test=0.8, control=0.7, **more):
    about = (method, "pair", f"[ce,{method}]", multiplier, 0.9 * multiplier, seed)
    return Run(*about, validation, test, control, 0.9, 0.85, 2.0, **more)


def three(method, *tests):
    return [run(method, seed=seed, test=test) for seed, test in enumerate(tests)]


@pytest.mark.parametrize(
    ("validation", "chosen"),
    [
        ((0.80, 0.81, 0.80), 1.0),
        ((0.813, 0.81, 0.80), 1.0),
        ((2553 / 3000, 2538 / 3000, 0.80), 1.0),  # 15 images, which floats make a little more
        ((0.80, 0.81, 0.816), 10.0),
    ],
    ids=["best", "another is hardly better", "better by just that", "another is better"],
)
def test_the_published_weight_stays_unless_another_is_better_by_the_margin(validation, chosen):
    assert MARGIN == 0.005
    runs = [run(multiplier=m, validation=v) for m, v in zip(MULTIPLIERS, validation, strict=True)]
    assert chosen_multiplier(runs) == chosen


def test_a_weight_that_failed_is_not_chosen():
    runs = [
        run(multiplier=0.1, validation=0.5),
        run(error="not finite"),
        run(multiplier=10.0, error="no"),
    ]
    assert chosen_multiplier(runs) == 0.1
    assert chosen_multiplier(runs[1:]) is None


def test_means_spreads_and_differences_are_paired_by_seed():
    kd = [
        run(seed=s, test=t, control=c)
        for s, t, c in ((0, 0.80, 0.7), (1, 0.82, 0.8), (2, 0.81, 0.6))
    ]
    other = three("at", 0.83, 0.83, 0.83)
    tried = run("at", multiplier=10.0, validation=0.1, test=0.1)
    first, second = leaderboard([*kd, *other, tried])
    assert (first.method, second.method) == ("at", "kd")  # 0.13 over the control, and 0.11
    assert first.over_control == pytest.approx(0.13)
    assert second.over_control == pytest.approx((0.10 + 0.02 + 0.21) / 3)
    assert second.over_control_std == pytest.approx(stdev([0.10, 0.02, 0.21]))
    assert first.over_kd == pytest.approx(0.02)
    assert first.over_kd_std == pytest.approx(0.01)
    assert (second.over_kd, second.over_kd_std) == (0, 0)
    assert first.seeds == 3


def test_a_method_without_plain_kd_beside_it_has_no_row_yet():
    assert leaderboard(three("at", 0.8, 0.8, 0.8)) == []


def test_runs_come_back_from_their_file(tmp_path):
    runs = [run(), Run("at", "pair", "[ce,at]", 10.0, 1e4, 0, error="loss.at: not finite, epoch 1")]
    write(tmp_path / "runs.csv", runs)
    assert read_runs(tmp_path / "runs.csv") == runs
    assert read_runs(tmp_path / "nothing.csv") == []


def test_every_loss_is_a_method():
    assert {*options("loss")} <= {*methods()}


@pytest.mark.slow
@pytest.mark.parametrize("name", methods())
def test_every_method_is_sound(name):
    checked(methods()[name].overrides_of(1.0, 0))


def test_the_committed_leaderboard_follows_from_the_committed_runs(tmp_path):
    write(tmp_path / "leaderboard.csv", leaderboard(read_runs(HERE / "runs.csv")))
    committed = (HERE / "leaderboard.csv").read_text(encoding="utf-8")
    assert (tmp_path / "leaderboard.csv").read_text(encoding="utf-8") == committed
