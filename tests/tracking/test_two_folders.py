"""Two runs that share a tracking server and no folder, as on two hosts."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from distill_lab.tracking.store import Store
from tests.faults.conftest import TINY
from tests.tracking.serving import served

pytestmark = pytest.mark.slow


def test_what_both_ask_for_is_trained_once(tmp_path):
    with served() as server:
        words = [*TINY, "tracking=server", f"tracking.uri={server.address}"]
        running = []
        for temperature in (2, 3):
            folder = tmp_path / str(temperature)
            folder.mkdir()
            more = f"temperature.value={temperature}"
            running.append(
                subprocess.Popen(
                    [sys.executable, "-m", "distill_lab", *words, more],
                    cwd=folder,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                )
            )
        assert [one.wait() for one in running] == [0, 0]
        store = Store(server.address, "distill-lab", None)
        runs = store.client.search_runs([store.experiment_id], max_results=1000)
        assert {run.info.status for run in runs} == {"FINISHED"}
        assert [run.data.tags["kind"] for run in runs].count("candidate") == 1
        names = [run.info.run_name for run in runs if "reused_from" not in run.data.tags]
        assert [names.count(once) for once in ("2 knowledge", "3 student", "5 control")] == [1] * 3
        assert names.count("5 train") == 2
        assert not [tag for run in runs for tag in run.data.tags if tag.startswith("turn.")]
