from __future__ import annotations

import subprocess
import sys

import pytest

from distill_lab.tracking.orphans import TAG, close_orphans, has_ended, this_process
from distill_lab.tracking.store import Store


@pytest.mark.slow
def test_a_run_of_a_killed_process_is_marked_failed_and_one_of_a_living_is_not(workdir):
    store = Store("sqlite:///mlflow.db", "orphans", "artifacts")
    script = (
        "import os, signal\n"
        "from distill_lab.tracking.store import Store\n"
        "run = Store('sqlite:///mlflow.db', 'orphans', 'artifacts').start('killed', {})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    mine = store.start("mine", {})
    records = {r.info.run_name: r for r in store.client.search_runs([store.experiment_id])}
    assert {name: r.info.status for name, r in records.items()} == {
        "killed": "RUNNING",
        "mine": "RUNNING",
    }
    assert close_orphans(store.client, store.experiment_id) == [records["killed"].info.run_id]
    closed = store.client.get_run(records["killed"].info.run_id)
    assert closed.info.status == "FAILED"
    assert "process ended" in closed.data.tags["error"]
    assert store.client.get_run(mine.id).info.status == "RUNNING"


def test_runs_of_other_hosts_and_reused_process_numbers_are_told_apart(workdir):
    store = Store("sqlite:///mlflow.db", "orphans", "artifacts")
    host, number, started = this_process().rsplit(":", 2)
    elsewhere = store.start("elsewhere", {})
    elsewhere.set_tags({TAG: f"not-{host}:1:1"})
    recycled = store.start("recycled", {})
    recycled.set_tags({TAG: f"{host}:{number}:{int(started) - 1}"})
    assert close_orphans(store.client, store.experiment_id) == [recycled.id]


def test_only_of_this_host_it_is_known_that_a_process_has_ended():
    host, number, started = this_process().rsplit(":", 2)
    assert not has_ended(this_process())
    assert has_ended(f"{host}:{number}:{int(started) - 1}")
    assert not has_ended(f"not-{host}:{number}:{int(started) - 1}")


def test_what_is_left_below_a_run_is_closed_on_any_host(workdir):
    store = Store("sqlite:///mlflow.db", "orphans", "artifacts")
    sweep = store.start("sweep", {})
    job = store.start("job", {}, sweep.id)
    stage = store.start("stage", {}, job.id)
    job.client.set_terminated(job.id, "KILLED")
    stage.set_tags({TAG: "another-host:1:1"})
    store.close_below(sweep.id)
    found = {one.name: one.status for one in map(store.get, (sweep.id, job.id, stage.id))}
    assert found == {"sweep": "RUNNING", "job": "KILLED", "stage": "FAILED"}
