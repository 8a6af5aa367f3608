"""MLflow's own server, started by the command of docs/handover.md, on real data."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
import torch

from distill_lab.launch import checked, run_job
from distill_lab.stages.report_handoff import DISTILLED

pytestmark = pytest.mark.usefixtures("no_figures")

QUICK = [
    "regime.epochs=2",
    "selection.regime.epochs=2",
    "teacher.channels=[4, 8]",
    "student.widths=[32]",
    "design.latency_repeats=3",
    "evaluation.latency_repeats=3",
    "hardware.threads=1",
]
START_SECONDS = 300  # at most; a busy machine takes its time


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def ask(address, content=None):
    request = Request(address, content, {"Content-Type": "application/json"})
    with urlopen(request, timeout=60) as answer:
        return answer.read()


def answers(address, server):
    """Wait until the server does."""
    limit = time.monotonic() + START_SECONDS
    while time.monotonic() < limit and server.poll() is None:
        try:
            ask(address)
        except URLError:
            time.sleep(0.5)
        else:
            return True
    return False


@pytest.fixture
def served(workdir):
    """What a run left, and the address at which MLflow serves its champion."""
    done = run_job(checked(QUICK), QUICK)
    port = free_port()
    words = ["models", "serve", "-m", "models:/distill-lab-digits@champion"]
    words += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    told = {"PATH": path, "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}
    with (workdir / "server.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words],
            env=os.environ | told,
            stdout=log,
            stderr=log,
            start_new_session=True,  # it starts another process, which has to end with it
        )
    try:
        address = f"http://127.0.0.1:{port}"
        assert answers(f"{address}/ping", server), (workdir / "server.log").read_text()
        yield done, address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


@pytest.mark.slow
def test_the_served_champion_has_the_accuracy_of_the_report(served):
    done, address = served
    test = checked(QUICK).data.load().test
    asked = json.dumps({"inputs": test.inputs.tolist()}).encode()
    logits = torch.tensor(json.loads(ask(f"{address}/invocations", asked))["predictions"])
    accuracy = (logits.argmax(dim=1) == test.targets).double().mean().item()
    assert accuracy == pytest.approx(done.report.row(DISTILLED).scores.accuracy)
    example = (Path(done.handed_over.folder) / "example.json").read_bytes()
    said = json.loads(ask(f"{address}/invocations", example))["predictions"]
    assert torch.tensor(said).shape == (2, 10)
