"""What a trial is judged by, and which commands work on one study."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow.exceptions import MlflowException

from distill_lab.config.space import axes, is_about_search
from distill_lab.errors import RunError
from distill_lab.launch import checked
from distill_lab.search import run
from distill_lab.search.run import database, reached, run_search, what_is_asked
from distill_lab.tracking.failures import refusals_told

SPACE = "regime.search.space={temperature.value:[2,4]}"


def asked_by(*overrides):
    parts = checked(overrides)
    return what_is_asked(parts, axes(parts.search.space, parts.config))


def test_a_trial_is_judged_by_validation_and_by_costs_of_the_distilled_student():
    tested = SimpleNamespace(quality=0.9)
    rows = {"student distilled": SimpleNamespace(cost=SimpleNamespace(macs=7), scores=tested)}
    report = SimpleNamespace(validation=SimpleNamespace(quality=0.4), row=rows.__getitem__)
    done = SimpleNamespace(report=report)
    assert reached(done, "quality") == 0.4
    assert reached(done, "macs") == 7.0


def test_how_long_and_where_a_search_goes_on_makes_no_other_study():
    first = asked_by(SPACE)
    more = ["regime.search.num_trials=99", "regime.search.max_minutes=1", "name=again"]
    place = ["tracking.experiment=other", "regime.search.storage=sqlite:///here.db"]
    assert asked_by(SPACE, *more, *place) == first


@pytest.mark.parametrize(
    ("override", "differs"),
    [
        ("seed=1", "run"),
        ("regime.search.space={temperature.value:[2,8]}", "space"),
        ("regime.search.sampler=random", "sampler"),
        ("regime.search.objectives=[macs]", "objectives"),
        ("regime.search.pruner=median", "pruner"),
    ],
)
def test_another_question_makes_another_study(override, differs):
    first, other = asked_by(SPACE), asked_by(SPACE, override)
    assert [key for key in first if first[key] != other[key]] == [differs]


def test_other_data_behind_the_same_config_make_another_study():
    parts = checked([SPACE, "data=fake"])
    space = axes(parts.search.space, parts.config)
    splits = parts.data.load()
    train = splits.train._replace(targets=splits.train.targets.flip(0))
    other = SimpleNamespace(info=parts.data.info, load=lambda: splits._replace(train=train))
    first, again = (what_is_asked(one, space) for one in (parts, replace(parts, data=other)))
    assert [key for key in first if first[key] != again[key]] == ["data"]


class Away:
    """A store that does not answer."""

    def __getattr__(self, name):
        raise MlflowException("no answer from the store")


def test_a_store_that_does_not_answer_is_an_error_for_the_user(monkeypatch):
    monkeypatch.setattr(run, "Store", lambda *where: Away())
    with pytest.raises(RunError, match="no answer from the store"):
        run_search(checked([SPACE]), [SPACE])


class Told:
    """Takes the place of a study, or of a run: notes what it is told."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *given: self.calls.append(name)


def test_a_trial_that_a_full_disk_ended_is_put_back_and_no_other_is_begun(monkeypatch):
    def run_job(*given):
        with refusals_told():
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run, "run_job", run_job)
    study, parent = Told(), Told()
    parent.id = "a"
    trial = SimpleNamespace(number=0, params={"temperature.value": "2"})
    with pytest.raises(RunError, match="No space left"):
        run._do(study, trial, None, parent, ["data=fake"], checked([SPACE]))
    assert (study.calls, parent.calls) == (["put_back"], [])


def test_a_database_is_a_file_beside_the_store_or_what_was_asked_for(workdir):
    assert database(None, Path("/runs")) == "sqlite:////runs/search.db"
    assert database("sqlite:///mine.db", Path("/runs")) == f"sqlite:///{workdir}/mine.db"
    assert database("postgresql://host/db", Path("/runs")) == "postgresql://host/db"


def test_the_overrides_of_a_search_are_told_from_those_of_the_run():
    given = ["search@regime.search=grid", "regime.search.num_trials=1", "++regime.search.space={}"]
    assert all(map(is_about_search, given))
    assert not any(map(is_about_search, ["regime.lr=1", "regime=sgd_step", "seed=1"]))


def test_a_run_knows_nothing_of_the_search_around_it():
    parts = checked([SPACE])
    assert "regime.search" not in parts.config
    assert parts.config == checked([]).config
