from __future__ import annotations

import os
import pickle
from types import SimpleNamespace

import pytest

from distill_lab import sweep_job
from distill_lab.errors import RunError
from distill_lab.sweep_job import STOP, Job, this_place, told_to_stop
from distill_lab.tracking.store import Store


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A store, in a folder of its own."""
    folder = tmp_path_factory.mktemp("begun")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return Store("sqlite:///mlflow.db", "distill-lab", "mlartifacts"), folder


@pytest.fixture
def sweep(begun, workdir):
    """The run of a sweep of one job in that folder; the working directory is another one."""
    store, folder = begun
    run = store.start("sweep", {})
    run.log_json({"0": ["seed=1", ["seed=1"]]}, sweep_job.JOBS)
    return SimpleNamespace(store=store, run=run, folder=folder)


def config(sweep):
    tracking = SimpleNamespace(
        uri="sqlite:///mlflow.db",
        experiment="distill-lab",
        artifact_location="mlartifacts",
        sweep_run_id=sweep.run.id,
        job=0,
    )
    return SimpleNamespace(tracking=tracking)


def test_a_job_elsewhere_works_in_the_folder_of_the_sweep(sweep, workdir, monkeypatch):
    done = []
    monkeypatch.setattr(sweep_job, "checked", lambda overrides: overrides)
    monkeypatch.setattr(
        sweep_job, "run_job", lambda *given: done.append((os.getcwd(), given[0][0], given[2]))
    )
    monkeypatch.setattr(os, "environ", dict(os.environ))
    pickle.loads(pickle.dumps(Job(str(sweep.folder), "a login node:1")))(config(sweep))
    assert done == [(str(sweep.folder), "seed=1", "seed=1")]
    assert list(workdir.iterdir()) == []


def test_a_job_that_fails_tells_the_sweeps_run_why(sweep, monkeypatch, capsys):
    def fail(*given):
        raise RunError("it diverged")

    monkeypatch.setattr(sweep_job, "checked", fail)
    monkeypatch.chdir(sweep.folder)
    Job(str(sweep.folder), this_place())(config(sweep))
    assert sweep.store.get(sweep.run.id).tags["failed.0"] == "it diverged"
    assert "Job 0 (seed=1) failed: it diverged" in capsys.readouterr().err


def test_a_host_that_does_not_share_the_folder_is_told_of(sweep, monkeypatch):
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with pytest.raises(RunError, match="has no folder /not/here, in which the sweep was started"):
        Job("/not/here", "a login node:1")(config(sweep))


def test_jobs_are_told_to_stop_by_a_tag_of_the_sweeps_run(sweep):
    assert not told_to_stop(sweep.store, sweep.run.id)
    sweep.run.set_tags({STOP: "Ctrl-C"})
    assert told_to_stop(sweep.store, sweep.run.id)


def test_a_store_that_does_not_answer_stops_nobody(sweep):
    assert not told_to_stop(sweep.store, "no such run")
