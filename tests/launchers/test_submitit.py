"""Sweeps through submitit, on this host and with a stand-in for SLURM's commands."""

from __future__ import annotations

import os
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.launchers.conftest import end_group, require

ROOT = Path(__file__).parents[2]
FOREVER = "regime.epochs=100000"
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _submitit():
    require("hydra_plugins.hydra_submitit_launcher")


def number_of(sweep, job):
    """The process that does a job: the one of submitit that writes the log in which it is named."""
    logs = {log: log.read_text() for log in sweep.folder.rglob("*_log.out")}
    [own] = [log for log, text in logs.items() if f"{job}: 4 loss" in text]
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            does_it = b"submitit.core._submit" in (process / "cmdline").read_bytes()
            if does_it and (process / "fd/1").resolve() == own:
                return int(process.name)
    raise AssertionError(f"nobody writes {own}")


def test_a_killed_job_ends_the_others_and_the_same_command_goes_on(started):
    words = ("hydra/launcher=submitit_local", "hardware.checkpoint_minutes=1e-6", "seed=0,1")
    sweep = started(*words, FOREVER)
    sweep.until(lambda: sweep.jobs_said.count(": 4 loss") == 2)
    os.kill(number_of(sweep, "seed=0"), signal.SIGKILL)  # results are asked for in order
    assert sweep.ended() == 1
    assert "A job's process died, so the others were ended." in sweep.said
    statuses = {name: status for name, status in sweep.runs() if name.startswith("seed")}
    assert statuses == {"seed=0": "FAILED", "seed=1": "KILLED"}
    again = started(*words)
    assert again.ended() == 0, again.said
    assert len(again.runs("candidate")) == 1


def test_ctrl_c_in_the_terminal_closes_the_runs_of_all_jobs(started):
    sweep = started("hydra/launcher=submitit_local", FOREVER, "seed=0,1")
    sweep.until(lambda: sweep.jobs_said.count(": 4 loss") == 2)
    sweep.ctrl_c()
    assert sweep.ended() == 130
    assert {status for name, status in sweep.runs() if name[:4] == "seed"} == {"KILLED"}


@pytest.fixture
def slurm(tmp_path):
    """Environment in which the stand-in answers to the names of SLURM's commands."""
    states, commands = tmp_path / "states", tmp_path / "bin"
    states.mkdir()
    commands.mkdir()
    script = Path(__file__).with_name("slurm.py")
    for name in ("sbatch", "srun", "scontrol", "sacct"):
        file = commands / name
        file.write_text(f'#!/bin/sh\nexec {sys.executable} {script} {name} "$@"\n')
        file.chmod(0o755)
    yield {"PATH": f"{commands}:{os.environ['PATH']}", "SLURM_STAND_IN": str(states)}
    groups = states / "groups"
    for number in groups.read_text().split() if groups.exists() else ():
        end_group(int(number))


def test_a_job_whose_time_ends_is_requeued_and_goes_on_where_it_was(started, slurm, tmp_path):
    page = (ROOT / "docs/scale.md").read_text()
    [example] = re.findall(
        r"```yaml\n(# conf/hydra/launcher/cluster.yaml\n.*?)```", page, re.DOTALL
    )
    own = tmp_path / "conf/hydra/launcher/cluster.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(example)
    long = ("regime.epochs=1000", "hardware.checkpoint_minutes=0.01")
    sweep = started("hydra/launcher=cluster", *long, "seed=0,1", **slurm)
    sweep.until(lambda: sweep.jobs_said.count(": 4 loss") == 2)
    # Each has one training at a time, and before it is saved there is nothing to go on with.
    sweep.until(lambda: len(list(tmp_path.rglob("*.ckpt"))) == 2)
    os.kill(number_of(sweep, "seed=1"), signal.SIGUSR2)
    assert sweep.ended() == 0, sweep.said
    assert (tmp_path / "states/requeued").read_text() == "4242_1\n"
    assert re.search(r"seed=1: .*goes on where it was stopped", sweep.jobs_said)
    assert sorted(s for name, s in sweep.runs() if name == "seed=1") == ["FINISHED", "KILLED"]
    script = (tmp_path / "states/script").read_text()
    for line in ("array=0-1%2", "signal=USR2@120", "time=240", "job-name=distill-lab", "requeue"):
        assert f"#SBATCH --{line}\n" in script
