"""Seconds until the program answers: help, a wrong config, the first training step."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, time
from typing import Any

from bench.first_step import MARK
from bench.workers import ROOT, SCRATCH

ANSWERS = {
    "help": (["--help"], 0),
    "mistyped_key": (["regime.epoch=3"], 2),
    "wrong_loss_weight": (["loss.kd.weight=-1"], 2),
    "wrong_width": (["student.widths=[0]"], 2),
}
"""Name -> arguments, exit code."""
FIRST_STEPS = {
    "first_step": ["reuse=off"],
    "first_step_of_student": ["temperature.value=2"],
}
"""Name -> overrides: of a whole run, and of a job whose teacher is in the store."""
SHORT = ["selection.regime.epochs=1", "knowledge.student_epochs=1"]
"""Nothing before the first step depends on how long the training would be."""
NUM_REPEATS = 5


def measure(quick: bool) -> dict[str, Any]:
    """Return the median seconds of each, and all of them."""
    num_repeats = 1 if quick else NUM_REPEATS
    repeats: dict[str, list[float]] = {name: [] for name in (*ANSWERS, *FIRST_STEPS)}
    with TemporaryDirectory(dir=SCRATCH, prefix="startup-") as scratch:
        folder = Path(scratch)
        program(["regime.epochs=1", *SHORT], folder)  # makes the store and a teacher
        for _ in range(num_repeats):
            for name, (arguments, code) in ANSWERS.items():
                repeats[name].append(program(arguments, folder, code))
            for name, overrides in FIRST_STEPS.items():
                repeats[name].append(_first_step([*overrides, *SHORT], folder))
    seconds = {name: median(values) for name, values in repeats.items()}
    print("  " + ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items()), flush=True)
    worst = max(seconds[name] for name, (_, code) in ANSWERS.items() if code == 2)
    return {"seconds": seconds, "config_error_seconds": worst, "repeats": repeats}


def program(arguments: list[str], folder: Path, code: int = 0) -> float:
    """Run `distill-lab` in a folder and return its wall seconds.

    Raises:
        RuntimeError: its exit code is not the expected one.
    """
    start = perf_counter()
    done = _run(["-m", "distill_lab", *arguments], folder)
    seconds = perf_counter() - start
    _require_code(done, code)
    return seconds


def _first_step(overrides: list[str], folder: Path) -> float:
    start = time()
    done = _run([str(ROOT / "bench" / "first_step.py"), *overrides], folder)
    _require_code(done, 130)
    found = re.search(rf"{MARK}([\d.]+)", done.stdout)
    assert found is not None  # it stopped itself, so it has printed
    return float(found[1]) - start


def _run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def _require_code(done: subprocess.CompletedProcess[str], code: int) -> None:
    if done.returncode != code:
        raise RuntimeError(
            f"{done.args} ended with exit code {done.returncode}, not {code}:\n"
            f"{done.stdout[-1000:]}{done.stderr[-2000:]}"
        )
