"""A stand-in for SLURM's commands on one host, which runs every task of an array at once.

It is given the name of the command it stands in for first, and keeps the state of each task in a
file of the folder SLURM_STAND_IN, and in `groups` the process groups of all. What it does is what
submitit relies on: sbatch answers with a number, runs the script for each task of --array, and does
so again where scontrol was asked to requeue it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

STATES = Path(os.environ.get("SLURM_STAND_IN", ""))
NUMBER = "4242"


def sbatch(script: str) -> None:
    text = Path(script).read_text()
    (STATES / "script").write_text(text)
    first, last = re.search(r"--array=(\d+)-(\d+)", text).groups()
    print(f"Submitted batch job {NUMBER}")
    sys.stdout.flush()
    for task in range(int(first), int(last) + 1):
        (STATES / f"{NUMBER}_{task}").write_text("PENDING")
        command = [sys.executable, __file__, "task", script, str(task)]
        quiet = subprocess.DEVNULL
        begun = subprocess.Popen(command, start_new_session=True, stdout=quiet, stderr=quiet)
        with (STATES / "groups").open("a") as groups:
            groups.write(f"{begun.pid}\n")


def task(script: str, number: str) -> None:
    """Run a task, again and again while it is requeued."""
    state = STATES / f"{NUMBER}_{number}"
    own = {
        "SLURM_JOB_ID": str(int(NUMBER) + int(number)),
        "SLURM_ARRAY_JOB_ID": NUMBER,
        "SLURM_ARRAY_TASK_ID": number,
        "SLURM_NTASKS": "1",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_JOB_NODELIST": "here",
        "SLURM_JOB_NAME": "job",
    }
    while state.read_text() in ("PENDING", "REQUEUED"):
        state.write_text("RUNNING")
        code = subprocess.run(["bash", script], env=os.environ | own, check=False).returncode
        if state.read_text() == "RUNNING":
            state.write_text("FAILED" if code else "COMPLETED")


def srun(*words: str) -> None:
    """Run the command behind the options, its output in the files that they name."""
    start = next(n for n, word in enumerate(words) if "python" in Path(word).name)
    for option, stream in (("--output", 1), ("--error", 2)):
        path = words[words.index(option) + 1]
        for mark, value in (("%A", NUMBER), ("%a", os.environ["SLURM_ARRAY_TASK_ID"]), ("%t", "0")):
            path = path.replace(mark, value)
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), stream)
    os.execv(words[start], list(words[start:]))


def scontrol(verb: str, job: str) -> None:
    assert verb == "requeue"
    (STATES / job).write_text("REQUEUED")
    with (STATES / "requeued").open("a") as log:
        log.write(f"{job}\n")


def sacct(*words: str) -> None:
    print("JobID|State|NodeList")
    for state in sorted(STATES.glob(f"{NUMBER}_*")):
        print(f"{state.name}|{state.read_text()}|here")


if __name__ == "__main__":
    name, *words = sys.argv[1:]
    {f.__name__: f for f in (sbatch, task, srun, scontrol, sacct)}[name](*words)
