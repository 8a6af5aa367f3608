"""Sweeps on a Ray cluster that `ray start` began in another folder."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.launchers.conftest import require

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The address of a cluster with two CPUs, in a folder that must stay empty."""
    require("ray")
    require("hydra_plugins.hydra_ray_launcher")
    folder = tmp_path_factory.mktemp("cluster")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with TemporaryDirectory(prefix="ray", dir="/tmp") as scratch:  # sockets' paths must be short
        command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--num-cpus=2"]
        command += [f"--port={port}", f"--temp-dir={scratch}", "--include-dashboard=false"]
        command += ["--node-ip-address=127.0.0.1", "--block"]
        own = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
        quiet = subprocess.DEVNULL
        head = subprocess.Popen(
            command, cwd=folder, stdout=quiet, stderr=quiet, env=os.environ | own
        )
        try:
            yield f"127.0.0.1:{port}"
        finally:
            head.terminate()
            head.wait(60)
    assert list(folder.iterdir()) == []


def on(cluster):
    return ("hydra/launcher=ray", f"hydra.launcher.ray.init.address={cluster}")


def test_jobs_on_a_cluster_leave_what_jobs_here_leave(cluster, started):
    rates = ("regime.lr=0.01,1e30", "regime.optimizer=sgd")
    sweep = started(*on(cluster), *rates)
    assert sweep.ended() == 1, sweep.said  # as one of them diverges
    assert "2 jobs at once, each with one thread (hardware.threads=1)" in sweep.said
    assert "|" not in re.sub(r"(?m)^job.*", "", sweep.said)  # no bars
    assert [name for name, status in sweep.runs() if status == "FAILED"] == ["lr=1e+30"]
    assert sweep.runs("candidate") == [(sweep.runs("candidate")[0][0], "FINISHED")]
    assert ("sweep: lr, 2 jobs", "FINISHED") in sweep.runs()


def test_a_killed_worker_is_replaced_and_ctrl_c_closes_all_runs(cluster, started):
    sweep = started(*on(cluster), "regime.epochs=100000", "seed=0,1")
    sweep.until(lambda: sweep.said.count(": 4 loss") == 2)
    number = re.search(r"pid=(\d+).*seed=1: 4 loss", sweep.said)[1]
    os.kill(int(number), signal.SIGKILL)
    again = re.compile(r"seed=1: 4 loss .*reused")
    sweep.until(lambda: again.search(sweep.said) is not None)
    sweep.ctrl_c()
    assert sweep.ended() == 130
    assert [status for name, status in sweep.runs() if name == "seed=0"] == ["KILLED"]
    assert {s for name, s in sweep.runs() if name == "seed=1"} == {"FAILED", "KILLED"}
    assert [status for _, status in sweep.runs("sweep")] == ["KILLED"]
