"""A whole run over two processes: the store has what it has of one process, once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from mlflow import MlflowClient

from distill_lab.cli import main
from distill_lab.errors import ConfigError
from distill_lab.launch import check_jobs, checked, run_job

ROOT = Path(__file__).parents[1]
RUN = [
    "data=digits",
    "regime.epochs=3",
    "selection.regime.epochs=3",
    "knowledge.student_epochs=1",
    "design.latency_repeats=1",
    "evaluation.latency_repeats=1",
    "evaluation.energy_seconds=0",
    "evaluation.register_as=null",
    "architecture@teacher=mlp_30",
    "architecture@student=mlp_30",
    "student.widths=[16]",
]
ALONE = ["hardware=cpu", "hardware.threads=1"]
MEASURED = ("latency", "seconds", "throughput", "memory", "energy", "usd")


def everything(folder: Path) -> list[dict]:
    """Every run of a store: its status, its artifacts, and its metrics with all their points."""
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (experiment,) = (e for e in client.search_experiments() if e.name == "distill-lab")
    found = []
    for run in client.search_runs([experiment.experiment_id], order_by=["start_time"]):
        of_run = {
            f"{key} {point.step}": point.value
            for key in run.data.metrics
            for point in client.get_metric_history(run.info.run_id, key)
        }
        files = Path(run.info.artifact_uri.removeprefix("file://"))
        names = sorted(path.name for path in files.rglob("*") if path.is_file())
        found.append({"status": run.info.status, "files": names, "points": of_run})
    return found


def answers(folder: Path) -> list[str]:
    return [file.name for file in folder.rglob(".distill_lab/teacher_cache/*/*.rows")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "more", [[], ["regime.mixup_alpha=0.5", "regime.shift_pixels=1", "loss=[ce,kd,rkd,crd]"]]
)
def test_two_processes_leave_in_the_store_what_one_leaves(tmp_path, monkeypatch, more):
    found, kept = [], []
    for name, hardware in (("alone", ALONE), ("together", ["hardware=ddp"])):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        assert main([*RUN, *more, *hardware]) == 0
        found.append(everything(tmp_path / name))
        kept.append(answers(tmp_path / name))
    alone, together = found
    assert [run["status"] for run in together] == ["FINISHED"] * len(alone)
    assert kept[0] == kept[1]
    for one, other in zip(alone, together, strict=True):
        assert other["files"] == one["files"]
        assert set(other["points"]) == set(one["points"])
        for key, value in one["points"].items():
            if not any(word in key for word in MEASURED):
                assert other["points"][key] == pytest.approx(value, rel=1e-3, abs=1e-3), key


def after_name(folder: Path) -> list[str]:
    """What /proc says of a process: its state, its parent and more."""
    return folder.joinpath("stat").read_text().rpartition(")")[2].split()


def descendants(pid: int) -> set[int]:
    """All processes below one."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            parents[int(folder.name)] = int(after_name(folder)[1])
    below = {pid}
    while more := {child for child, parent in parents.items() if parent in below} - below:
        below |= more
    return below - {pid}


def further_processes(pid: int) -> list[int]:
    """Those that train along with one: children of its forkserver."""
    children = descendants(pid)
    found = []
    for child in children:
        with suppress(OSError):
            if int(after_name(Path(f"/proc/{child}"))[1]) in children:
                found.append(child)
    return found


@pytest.fixture
def start(tmp_path):
    """Starts the program, in a group of its own, and returns in the middle of a training by two."""
    programs = []

    def begin(*more: str) -> subprocess.Popen:
        words = [*RUN, "hardware=ddp", "regime.epochs=100000", *more]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
        environment |= {"PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}
        with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
            program = subprocess.Popen(
                [sys.executable, "-m", "distill_lab", *words],
                cwd=tmp_path,
                env=environment,
                stdout=out,
                stderr=err,
                process_group=0,
            )
        programs.append(program)

        def soon(what) -> None:
            end = time.monotonic() + 120
            while not what():
                assert program.poll() is None, (tmp_path / "err").read_text()
                assert time.monotonic() < end, (tmp_path / "out").read_text()
                time.sleep(0.1)

        # Trainings before this are short: a signal could come between two of them.
        soon(lambda: "\n  4 loss " in (tmp_path / "out").read_text())
        long = time.time()
        if "hardware.checkpoint_minutes=null" in more:
            soon(lambda: further_processes(program.pid))
            time.sleep(5)  # until it trains
        else:
            soon(lambda: any(file.stat().st_mtime > long for file in saved(tmp_path)))
        return program

    yield begin
    for program in programs:
        with suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()


@pytest.fixture
def running(start):
    """The program in the middle of a training of two processes, which it saves."""
    return start("hardware.checkpoint_minutes=0.001")


def saved(folder: Path) -> list[Path]:
    return list((folder / ".distill_lab" / "unfinished").rglob("*.ckpt"))


def statuses(folder: Path) -> set[str]:
    return {run["status"] for run in everything(folder)}


@pytest.mark.slow
@pytest.mark.parametrize("tell", [os.kill, os.killpg])  # as by a terminal, `timeout` and SLURM
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_told_to_stop_it_saves_and_leaves_no_process_behind(start, tmp_path, number, code, tell):
    program = start("hardware.checkpoint_minutes=0.05")  # 3 s: the next save is not due at once
    below, last = descendants(program.pid), max(file.stat().st_mtime for file in saved(tmp_path))
    assert below
    tell(program.pid, number)
    assert program.wait(timeout=60) == code
    assert max(file.stat().st_mtime for file in saved(tmp_path)) > last
    assert "KILLED" in statuses(tmp_path)
    assert "RUNNING" not in statuses(tmp_path)
    assert gone(below)


@pytest.mark.slow
@pytest.mark.parametrize("tell", [os.kill, os.killpg])
def test_told_to_stop_it_ends_where_nothing_is_saved(start, tmp_path, tell):
    program = start("hardware.checkpoint_minutes=null")
    below = descendants(program.pid)
    tell(program.pid, signal.SIGTERM)
    assert program.wait(timeout=60) == 143
    assert "KILLED" in statuses(tmp_path)
    assert "RUNNING" not in statuses(tmp_path)
    assert gone(below)


@pytest.mark.slow
def test_a_further_process_that_is_killed_ends_the_run_with_an_error(running, tmp_path):
    (further,) = further_processes(running.pid)
    os.kill(further, signal.SIGKILL)
    assert running.wait(timeout=60) == 1
    assert "process 1 of 2" in (tmp_path / "err").read_text()
    assert "RUNNING" not in statuses(tmp_path)


@pytest.mark.slow
def test_killed_itself_it_takes_the_further_processes_along(running):
    below = descendants(running.pid)
    running.kill()
    running.wait()
    assert gone(below)


def gone(pids: set[int]) -> bool:
    end = time.monotonic() + 20
    while (left := [pid for pid in pids if _lives(pid)]) and time.monotonic() < end:
        time.sleep(0.1)
    return left == []


def _lives(pid: int) -> bool:
    try:
        return after_name(Path(f"/proc/{pid}"))[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("option", ["ddp", "fsdp", "multi_node"])
def test_every_way_of_several_processes_is_built_by_check(option):
    assert check_jobs([f"hardware={option}"]) == (1, [])


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_processes_of_several_machines_can_be_built_too(strategy):
    words = [f"hardware.strategy={strategy}", "hardware.num_nodes=2", "hardware.accelerator=cpu"]
    assert check_jobs(["hardware=ddp", "hardware.checkpoint_minutes=null", *words]) == (1, [])


def test_several_machines_are_not_started(workdir):
    words = ["hardware=multi_node", "hardware.accelerator=cpu", "hardware.precision=32-true"]
    with pytest.raises(ConfigError, match=r"hardware\.num_nodes: .*not run yet; must be 1, got 2"):
        run_job(checked(words), words)
    assert list(workdir.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["hardware.devices=2"], "hardware.devices: must be 1 with hardware.strategy=single_"),
        (["hardware.num_nodes=2"], "hardware.num_nodes: must be 1 with hardware.strategy="),
        (["hardware=ddp", "hardware.compile=true"], "hardware.compile: must be false with sev"),
        (["hardware=fsdp", "hardware.precision=16-mixed"], "hardware.precision: must be 32-true"),
        (["hardware=fsdp", "hardware.checkpoint_minutes=1"], "hardware.checkpoint_minutes: must"),
        (["hardware=fsdp", "regime.ema_decay=0.9"], "regime.ema_decay: must be null with"),
        (["hardware=fsdp", "regime=dot_step"], "regime.optimizer: must be sgd or adamw with"),
        (["hardware=fsdp", "weighting=gradient_norm"], "weighting.balance: must be off with"),
        (
            ["hardware=ddp", "regime.batch_size=33"],
            "regime.batch_size: must be a multiple of the 2 processes that share a batch "
            "(hardware.devices times hardware.num_nodes), got 33; try 32 or 34.",
        ),
        (
            ["hardware=ddp", "hardware.devices=3", "selection.regime.batch_size=2"],
            "selection.regime.batch_size: must be a multiple of the 3 processes that share a "
            "batch (hardware.devices times hardware.num_nodes), got 2; try 3.",
        ),
    ],
)
def test_what_cannot_be_shared_is_refused_by_its_key(words, problem):
    with pytest.raises(ConfigError) as caught:
        checked(words)
    assert any(text.startswith(problem) for text in caught.value.problems), caught.value.problems
