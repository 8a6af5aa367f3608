"""The real program, whose tracking server is stopped in the middle of a training."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from distill_lab.tracking.store import Store
from tests.faults.conftest import TINY
from tests.tracking.serving import served

pytestmark = pytest.mark.slow

AWAY_SECONDS = 60
EPOCHS = 3000  # of some 10 ms: several times the 5 s between two batches of metrics
TRAINED = "5 control"
GIVES_UP = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}


@pytest.fixture(scope="module")
def server():
    with served() as one:
        yield one


def begin(server, folder, *more, **environment):
    """Start a run whose training takes a while."""
    words = ["tracking=server", f"tracking.uri={server.address}", *more]
    words += [f"regime.epochs={EPOCHS}", "regime.batch_size=48", "hardware.checkpoint_minutes=0.02"]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "distill_lab", *TINY, *words],
            cwd=folder,
            env={**os.environ, **environment, "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=log,
        )


def wait_for_training(store, running):
    """Wait until the first points of the curve of a training are there."""
    while running.poll() is None:
        filter_text = f"attributes.run_name = '{TRAINED}' and attributes.status = 'RUNNING'"
        for record in store.client.search_runs([store.experiment_id], filter_text):
            if "val/accuracy" in record.data.metrics:
                return
        time.sleep(0.1)
    pytest.fail("the run ended before anything of its training was sent")


def require_whole(store):
    """Every run but those that failed is FINISHED, and every point of its curves is there once."""
    runs = store.client.search_runs([store.experiment_id], max_results=1000)
    statuses = {run.info.status for run in runs}
    assert statuses <= {"FINISHED", "FAILED"}
    for name in ("5 control", "5 train"):
        (run,) = [r for r in runs if (r.info.run_name, r.info.status) == (name, "FINISHED")]
        for key in ("val/accuracy", "train/loss/total"):
            points = store.client.get_metric_history(run.info.run_id, key)
            assert [point.step for point in points] == list(range(EPOCHS))
    return statuses


def test_a_server_that_is_away_for_a_minute_loses_nothing(server, workdir):
    store = Store(server.address, "away", None)
    running = begin(server, workdir, "tracking.experiment=away")
    wait_for_training(store, running)
    assert server.stop() == 0
    time.sleep(AWAY_SECONDS)
    server.start()
    assert running.wait(600) == 0, (workdir / "log").read_text()
    assert "kept and sent later" in (workdir / "log").read_text()
    assert require_whole(store) == {"FINISHED"}


def test_a_run_whose_server_stays_away_fails_and_goes_on_later(server, workdir):
    store = Store(server.address, "gone", None)
    running = begin(server, workdir, "tracking.experiment=gone", **GIVES_UP)
    wait_for_training(store, running)
    assert server.stop(signal.SIGTERM) == 0
    assert running.wait(300) == 1
    told = (workdir / "log").read_text()
    assert "Failed: API request to http://127.0.0.1" in told
    assert "finished stages will be reused by the same command" in told
    assert "Traceback" not in told
    assert list((workdir / ".distill_lab" / "unfinished").rglob("*.ckpt"))
    server.start()
    again = begin(server, workdir, "tracking.experiment=gone")
    assert again.wait(600) == 0, (workdir / "log").read_text()
    assert require_whole(store) == {"FINISHED", "FAILED"}
    assert "[reused from" in (workdir / "log").read_text()
