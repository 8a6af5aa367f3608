"""The real program, run in folders of its own and killed there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from distill_lab.tracking.store import Store

ROOT = Path(__file__).parents[2]
TINY = [
    "data=fake",
    "data.num_train=96",
    "data.num_validation=48",
    "data.num_test=48",
    "regime.epochs=3",
    "regime.batch_size=16",
    "selection.regime.epochs=2",
    "selection.regime.batch_size=16",
    "knowledge.student_epochs=1",
    "knowledge.num_samples=32",
    "design.latency_repeats=1",
    "evaluation.latency_repeats=1",
    "evaluation.register_as=null",
    "architecture@teacher=mlp_30",
    "architecture@student=mlp_30",
    "student.widths=[8]",
    "teacher.widths=[16]",
    "hardware.threads=1",
    "hardware.checkpoint_minutes=1e-6",
]
"""A run of a second that saves its trainings after every batch."""
MEASURED = ("latency", "seconds", "throughput", "cache/", "memory", "energy", "usd")
"""In the names of metrics that are of the machine, and differ from run to run."""


@dataclass
class Command:
    """What is run, and where it is hit."""

    folder: Path
    words: list[str]
    trap: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class Ended:
    """How a command ended: its exit code, negative for a signal, and what it printed."""

    code: int
    out: str
    err: str


class Program:
    """Runs commands in copies of a process that has the program loaded."""

    tiny = TINY

    def __init__(self, empty_store: Path) -> None:
        self.empty_store = empty_store
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "TQDM_DISABLE": "1",
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
        }
        self._host = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.host"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._say() == "ready"

    def __call__(self, folder: Path, *more: str, **trap: Any) -> Ended:
        """Run the tiny run with more overrides, hit by a trap."""
        (ended,) = self.run(self.command(folder, *more, **trap))
        return ended

    def command(self, folder: Path, *more: str, **trap: Any) -> Command:
        """Return the tiny run, to be run beside another."""
        return Command(folder, [*TINY, *more], trap)

    def words(self, folder: Path, *words: str) -> Ended:
        """Run with these words alone."""
        (ended,) = self.run(Command(folder, list(words)))
        return ended

    def run(self, *commands: Command) -> list[Ended]:
        """Run commands side by side."""
        assert self._host.stdin is not None
        for command in commands:
            command.folder.mkdir(parents=True, exist_ok=True)
            if not (command.folder / "out").exists():
                shutil.copy(self.empty_store, command.folder / "mlflow.db")  # made in seconds
        asked = [{**vars(command), "folder": str(command.folder)} for command in commands]
        before = [tuple(_read(c.folder / name) for name in ("out", "err")) for c in commands]
        self._host.stdin.write(json.dumps(asked) + "\n")
        self._host.stdin.flush()
        codes = json.loads(self._say())
        return [
            Ended(
                code,
                _read(command.folder / "out").removeprefix(known[0]),
                _read(command.folder / "err").removeprefix(known[1]),
            )
            for code, command, known in zip(codes, commands, before, strict=True)
        ]

    def _say(self) -> str:
        assert self._host.stdout is not None
        return self._host.stdout.readline().strip()

    def close(self) -> None:
        """End the host."""
        with self._host:  # closes its pipes, upon which it ends, and waits for it
            pass


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The program, ready to be run and killed."""
    empty = tmp_path_factory.mktemp("empty") / "mlflow.db"
    Store(f"sqlite:///{empty}", "another", None)
    made = Program(empty)
    yield made
    made.close()


class Kept:
    """What a folder's store says."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(f"sqlite:///{folder / 'mlflow.db'}", "distill-lab", None)
        self.folder = folder
        client, experiment = self.store.client, self.store.experiment_id
        self.records = client.search_runs([experiment], max_results=5000)

    def statuses(self) -> list[str]:
        """Return the status of every run."""
        return sorted(record.info.status for record in self.records)

    def originals(self, name: str) -> list[Any]:
        """Return the finished runs of this name that were not reused, the newest first."""
        found = [
            record
            for record in self.records
            if record.info.run_name == name
            and record.info.status == "FINISHED"
            and "reused_from" not in record.data.tags
        ]
        return sorted(found, key=lambda record: -record.info.start_time)

    def finished(self, name: str) -> Any:
        """Return the only finished original run of this name."""
        (found,) = self.originals(name)
        return found

    def artifacts(self, record: Any) -> Path:
        """Return the folder of a run's artifacts."""
        return Path(unquote(record.info.artifact_uri.removeprefix("file://")))

    def numbers(self) -> dict[str, Any]:
        """Return all that a run found: metrics with their curves, and checksums of weights."""
        found: dict[str, Any] = {}
        names = {
            record.info.run_name
            for record in self.records
            if record.info.status == "FINISHED" and record.data.tags.get("kind") != "workflow"
        }
        for name in sorted(names):
            run = self.originals(name)[0]  # a stage that is shared may be done by two at once
            for key in run.data.metrics:
                if not any(word in key for word in MEASURED):
                    history = self.store.client.get_metric_history(run.info.run_id, key)
                    found[f"{name}: {key}"] = sorted((m.step, m.value) for m in history)
            for path in self.artifacts(run).rglob("*.safetensors"):
                found[f"{name}: {path.name}"] = path.read_bytes()
        return found

    def num_batches(self) -> int:
        """Return how many batches were trained on, in all processes together."""
        return len((self.folder / "batches").read_text())

    def left(self) -> list[Path]:
        """Return the checkpoints that are left."""
        return list((self.folder / ".distill_lab" / "unfinished").rglob("*.ckpt"))


@pytest.fixture(scope="session")
def whole(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """The tiny run, not disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    ended = program(folder)
    assert ended.code == 0, ended.err
    return Kept(folder)


@pytest.fixture
def kept() -> Callable[[Path], Kept]:
    """Reads the store of a folder."""
    return Kept
