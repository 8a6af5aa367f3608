"""Sixteen processes write into one store, and everything arrives."""

from __future__ import annotations

import subprocess
import sys

import pytest

from distill_lab.tracking.store import Store
from tests.tracking.crowd import EXPERIMENT, NAMES, NUM_JOBS, NUM_STEPS, value
from tests.tracking.serving import ROOT, served

pytestmark = pytest.mark.slow


def require_all_of(uri):
    done = subprocess.run(
        [sys.executable, "-m", "tests.tracking.crowd", uri],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    store = Store(uri, EXPERIMENT, None)
    records = store.client.search_runs([store.experiment_id], max_results=100)
    assert [record.info.status for record in records] == ["FINISHED"] * NUM_JOBS
    jobs = {int(record.data.tags["job"]): record.info.run_id for record in records}
    assert sorted(jobs) == list(range(NUM_JOBS))
    for job, run_id in jobs.items():
        assert store.read_json(run_id, "job.json") == {"job": job}
        for name in NAMES:
            points = store.client.get_metric_history(run_id, name)
            found = sorted((point.step, point.value) for point in points)
            assert found == [(step, value(job, name, step)) for step in range(NUM_STEPS)]


def test_all_that_sixteen_processes_log_to_a_server_arrives():
    with served() as server:
        require_all_of(server.address)


def test_all_that_sixteen_processes_log_to_a_sqlite_file_arrives(workdir):
    uri = f"sqlite:///{workdir}/mlflow.db"
    Store(uri, EXPERIMENT, str(workdir / "artifacts"))
    require_all_of(uri)
