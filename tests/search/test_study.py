"""A study by itself: who gets which trial, what counts, what is put back."""

from __future__ import annotations

import sqlite3

import pytest
from filelock import FileLock
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from distill_lab.config.space import Choices, Range
from distill_lab.errors import ConfigError, RunError
from distill_lab.search.study import Study
from distill_lab.settings import Search
from distill_lab.tracking.orphans import this_process
from tests.signals import places

X = Range("x", 0.0, 1.0, log=False, step=None, whole=False)
Y = Range("y", 0.0, 1.0, log=False, step=None, whole=False)
N = Range("n", 1, 3, log=False, step=None, whole=True)
C = Choices("c", ("a", "b"))
SEARCH = {
    "sampler": "random",
    "space": {"x": {"low": 0, "high": 1}},
    "num_trials": 4,
    "max_minutes": None,
    "objectives": ["quality"],
    "pruner": "off",
    "prune_from_epoch": 1,
    "prune_from_trial": 0,
    "storage": None,
    "study": None,
}


@pytest.fixture
def study(tmp_path):
    """Makes a study of the one name in the one database, as a process that joins would."""

    def make(*axes, asked=None, url=None, seed=0, num_epochs=9, **changes):
        search = Search(**SEARCH | changes)
        lock = FileLock(tmp_path / "lock")
        address = url or f"sqlite:///{tmp_path / 'search.db'}"
        asked = asked or {"sampler": search.sampler}
        return Study("s", address, search, list(axes or (X,)), asked, num_epochs, seed, lock)

    return make


def values_of(study):
    """The values of each trial that is left, each trial being completed with quality 0."""
    found = []
    while (trial := study.ask()) is not None:
        found.append(dict(trial.params))
        study.complete(trial, [0.0])
    return found


def test_a_trial_that_was_pruned_or_failed_counts_as_one(study):
    made = study()
    made.complete(made.ask(), [0.5])
    made.prune(made.ask())
    made.fail(made.ask(), "it diverged")
    assert [trial.state for trial in made.trials()] == ["COMPLETE", "PRUNED", "FAILED"]
    assert made.trials()[2].reason == "it diverged"
    assert made.ask() is not None
    assert made.ask() is None


def test_two_processes_share_the_number_of_trials(study):
    one, other = study(), study()
    begun = [one.ask(), other.ask(), one.ask(), other.ask()]
    assert [trial.number for trial in begun] == [0, 1, 2, 3]
    assert len({trial.params["x"] for trial in begun}) == 4
    assert (one.ask(), other.ask()) == (None, None)


def test_the_same_study_asked_for_more_goes_on(study):
    assert len(values_of(study(num_trials=2))) == 2
    assert len(values_of(study(num_trials=5))) == 3


@pytest.mark.parametrize("sampler", ["random", "tpe", "cma_es"])
def test_a_study_that_is_gone_on_with_has_the_trials_of_one_that_was_not_stopped(
    study, tmp_path, sampler
):
    def run(url, *parts):
        for number, most in enumerate(parts):
            made = study(X, Y, url=url, sampler=sampler, num_trials=most)
            if number and sampler != "cma_es":  # which makes its numbers of the trial's, too
                made.put_back(made.ask())
            while (trial := made.ask()) is not None:
                made.complete(trial, [trial.params["x"] - trial.params["y"] ** 2])
        return [trial.values for trial in made.trials()]

    at_once = run(f"sqlite:///{tmp_path / 'at_once.db'}", 12)
    in_parts = run(f"sqlite:///{tmp_path / 'in_parts.db'}", 2, 11, 12)
    assert len(at_once) == 12
    assert at_once == in_parts


def test_another_seed_draws_other_values(study, tmp_path):
    first = values_of(study(url=f"sqlite:///{tmp_path / '0.db'}"))
    other = values_of(study(url=f"sqlite:///{tmp_path / '1.db'}", seed=1))
    assert not {v["x"] for v in first} & {v["x"] for v in other}


def test_a_trial_that_was_stopped_is_done_again_and_does_not_count(study):
    made = study(num_trials=2)
    stopped = made.ask()
    made.put_back(stopped)
    assert made.trials() == []
    again = made.ask()
    assert again.params == stopped.params
    assert made.ask() is not None
    assert made.ask() is None


def test_a_trial_whose_process_is_gone_is_done_again(study):
    made = study(num_trials=1)
    lost = made.ask()
    assert study(num_trials=1).ask() is None
    host = this_process().partition(":")[0]
    lost.set_user_attr("process", f"{host}:4194304:1")  # no process has that number
    again = study(num_trials=1).ask()
    assert again.params == lost.params
    assert again.number == 1


def test_a_trial_whose_heartbeat_stopped_elsewhere_is_done_again(study, tmp_path):
    made = study(num_trials=1)
    lost = made.ask()
    lost.set_user_attr("process", "another-host:1:1")
    with made.heartbeat(lost):
        pass
    assert study(num_trials=1).ask() is None
    with sqlite3.connect(tmp_path / "search.db") as database:
        database.execute("UPDATE trial_heartbeats SET heartbeat = datetime('now', '-1 hour')")
    database.close()
    again = study(num_trials=1).ask()
    assert again.params == lost.params


def test_what_a_lost_process_says_later_changes_nothing(study):
    made = study(num_trials=1)
    lost = made.ask()
    made.put_back(lost)
    assert made.is_behind(lost, 1, 0.1) is False
    made.complete(lost, [0.9])
    made.fail(lost, "too late")
    assert made.trials() == []


def test_the_points_of_a_grid_are_done_once_each_by_all_processes_together(study):
    given = {"sampler": "grid", "num_trials": None}
    one, other = study(C, N, **given), study(C, N, **given)
    stopped = one.ask()
    one.put_back(stopped)
    found = [one.ask().params for _ in range(3)] + [other.ask().params for _ in range(3)]
    assert (one.ask(), other.ask()) == (None, None)
    points = {(value["c"], value["n"]) for value in found}
    assert points == {(c, n) for c in "ab" for n in (1, 2, 3)}


def test_a_grid_ends_at_the_number_of_trials(study):
    assert len(values_of(study(C, N, sampler="grid", num_trials=4))) == 4
    assert len(values_of(study(C, N, sampler="grid", num_trials=None))) == 2


def test_the_median_prunes_what_is_worse_than_half_of_the_others_at_that_epoch(study):
    made = study(pruner="median", prune_from_trial=2, prune_from_epoch=2)
    for quality in (0.4, 0.6):
        trial = made.ask()
        assert not any(made.is_behind(trial, epoch, quality) for epoch in (1, 2, 3))
        made.complete(trial, [quality])
    trial = made.ask()
    told = [made.is_behind(trial, epoch, quality) for epoch, quality in ((1, 0.0), (2, 0.49))]
    assert told == [False, True]
    made.prune(trial)
    assert made.trials()[2].objectives == {"quality": 0.49}
    assert made.trials()[2].epochs == 2
    better = made.ask()
    assert not made.is_behind(better, 2, 0.51)


def test_hyperband_ends_most_of_the_bad_trials_before_their_last_epoch(study):
    made = study(pruner="hyperband", num_trials=30)
    epochs = []
    while (trial := made.ask()) is not None:
        for epoch in range(1, 10):
            if made.is_behind(trial, epoch, trial.params["x"]):
                made.prune(trial)
                break
        else:
            made.complete(trial, [trial.params["x"]])
        epochs.append((trial.params["x"], epoch))
    pruned = [x for x, epoch in epochs if epoch < 9]
    assert len(pruned) >= 10
    assert max(x for x, _ in epochs) not in pruned


def test_the_best_of_one_objective_is_the_highest_quality(study):
    made = study()
    for quality in (0.2, 0.9, 0.4):
        made.complete(made.ask(), [quality])
    assert made.best() == [1]


def test_the_best_of_two_objectives_are_those_that_no_other_beats(study):
    made = study(objectives=["quality", "latency_ms"], sampler="tpe")
    for values in ([0.9, 3.0], [0.8, 1.0], [0.7, 2.0], [0.9, 3.5]):
        made.complete(made.ask(), values)
    assert made.best() == [0, 1]


def test_the_key_that_decides_has_the_larger_share(study):
    made = study(X, Y, num_trials=20)
    assert made.importances() == {}
    while (trial := made.ask()) is not None:
        made.complete(trial, [trial.params["x"]])
    shares = made.importances()["quality"]
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["x"] > 0.9


def test_a_study_of_that_name_with_another_space_is_refused(study):
    study(asked={"space": ["x"], "sampler": "tpe"})
    with pytest.raises(ConfigError, match=r"'s' is a study with another space; choose another"):
        study(asked={"space": ["y"], "sampler": "tpe"})


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("sqlite:////no/such/folder/search.db", "unable to open"),
        ("nonsense://ann:secret@host/db", "nonsense"),
    ],
)
def test_a_database_that_cannot_be_had_is_named_without_its_password(study, url, reason):
    with pytest.raises(ConfigError, match=reason) as error:
        study(url=url)
    assert "regime.search.storage" in str(error.value)
    assert "secret" not in str(error.value)


def set_parent(study):
    study.parent = "a run"


@pytest.mark.parametrize(
    "use",
    [
        lambda made: made.ask(),
        lambda made: made.parent,
        set_parent,
        lambda made: made.others(),
        lambda made: made.trials(),
        lambda made: made.best(),
        lambda made: made.importances(),
    ],
    ids=["ask", "parent", "set parent", "others", "trials", "best", "importances"],
)
def test_a_database_that_goes_away_is_an_error_for_the_user(study, tmp_path, use):
    made = study()
    made._storage.engine.dispose()
    (tmp_path / "search.db").unlink()
    with pytest.raises(RunError, match="the study cannot be reached"):
        use(made)


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        (C, CategoricalDistribution(("a", "b"))),
        (N, IntDistribution(1, 3)),
        (Range("n", 1, 8, False, 3, True), IntDistribution(1, 7, step=3)),
        (Range("n", 1, 64, True, None, True), IntDistribution(1, 64, log=True)),
        (Range("x", 1e-4, 0.1, True, None, False), FloatDistribution(1e-4, 0.1, log=True)),
        (Range("x", 0.1, 0.9, False, 0.3, False), FloatDistribution(0.1, 0.7, step=0.3)),
    ],
)
def test_an_axis_is_a_distribution_of_optuna(study, axis, expected):
    assert study(axis).ask().distributions == {axis.key: expected}


def test_a_signal_at_any_statement_of_a_trial_locks_nothing_and_loses_no_value(study):
    one = study(num_trials=1000)
    had = []

    def work():
        had.append(one.ask())
        one.complete(had[-1], [0.5])

    num_places = len(list(places(work)))
    states = {trial.number: trial.state for trial in one.trials()}
    assert {states[trial.number] for trial in had} == {"COMPLETE"}
    assert len(had) < num_places, "some signals came before there was a trial to have"
