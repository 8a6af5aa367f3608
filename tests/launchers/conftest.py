"""Sweeps of the real program, launched as a user does, in a folder of their own."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from mlflow.entities import Run

from distill_lab.tracking.store import Store

SLOWLY = 240.0  # seconds that a step of a sweep may take on a busy machine
TINY = [
    "data=fake",
    "regime.epochs=2",
    "selection.regime.epochs=2",
    "knowledge.student_epochs=0",
    "knowledge.num_samples=32",
    "design.latency_repeats=1",
    "evaluation.latency_repeats=1",
    "evaluation.energy_seconds=0",
    "evaluation.batch_sizes=[1]",
    "evaluation.num_resamples=100",
    "evaluation.throughput_seconds=0.1",
    "evaluation.register_as=null",
    "architecture@teacher=mlp_30",
    "teacher.widths=[8]",
    "student.widths=[8]",
]


class Sweep:
    """The program at work in a folder, all it prints in its file `out`."""

    def __init__(self, folder: Path, words: list[str], environment: dict[str, str]) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "distill_lab", "-m", *TINY, *words]
        with (folder / "out").open("w") as out:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=os.environ | environment,
                start_new_session=True,  # as in a terminal of its own, Ctrl-C reaches all of it
            )

    @property
    def said(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def jobs_said(self) -> str:
        """What jobs of submitit printed."""
        logs = sorted(self.folder.glob(".distill_lab/sweeps/*/.submitit/*/*.out"))
        return "".join(log.read_text() for log in logs)

    def until(self, happened: Callable[[], bool]) -> None:
        limit = time.monotonic() + SLOWLY
        while not happened():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < limit, self.said
            time.sleep(0.2)

    def ctrl_c(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)

    def ended(self) -> int:
        return self.process.wait(SLOWLY)

    def runs(self, what: str = "") -> list[tuple[str, str]]:
        """Name and status of the runs that are no stages, or of those whose name begins so."""
        found = [
            (record.info.run_name, record.info.status)
            for record in self._records()
            if "reused_from" not in record.data.tags
        ]
        if what:
            return [pair for pair in found if pair[0].startswith(what)]
        return sorted(pair for pair in found if not pair[0][0].isdigit())

    def _records(self) -> list[Run]:
        store = Store(f"sqlite:///{self.folder}/mlflow.db", "distill-lab", None)
        return list(store.client.search_runs([store.experiment_id]))


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Sweep]]:
    """Starts a sweep; none outlives the test, nor does a job of its session."""
    begun: list[Sweep] = []

    def start(*words: str, **environment: str) -> Sweep:
        begun.append(Sweep(tmp_path, list(words), environment))
        return begun[-1]

    yield start
    for sweep in begun:
        end_group(sweep.process.pid)
        sweep.process.wait()


def end_group(number: int) -> None:
    """Kill the processes of a group, also where the one that began it has ended."""
    with suppress(ProcessLookupError):
        os.killpg(number, signal.SIGKILL)


def require(module: str) -> None:
    """Skip where an extra is not installed; a build machine has all of them."""
    if importlib.util.find_spec(module) is None:
        reason = f"{module} is not installed; make setup installs it"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
