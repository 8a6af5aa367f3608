"""Wall time of sweeps: against separate runs, and with several jobs at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from bench.startup import program
from bench.workers import SCRATCH

TEMPERATURES = (1, 2, 3, 4, 6, 8, 12, 16)
COUNTS = (1, 2, 4, 8)
PARALLEL_COUNTS = (2, 4, 8)
PARALLEL = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
QUICK = ["data=fake", "regime.epochs=2", "selection.regime.epochs=2"]
NUM_REPEATS = 3  # of the parallel sweeps; a sweep takes tens of seconds


def measure_sweep(quick: bool) -> dict[str, Any]:
    """Time sweeps over temperatures and as many separate runs, each from nothing.

    Returns:
        Seconds of 8 separate runs, of sweeps of 1, 2, 4 and 8 jobs, and the ratio of 8 jobs.
    """
    short = QUICK if quick else []
    temperatures = TEMPERATURES[:2] if quick else TEMPERATURES
    counts = [count for count in COUNTS if count <= len(temperatures)]
    separate, sweeps = [], {}
    for number, value in enumerate(temperatures, start=1):
        separate.append(_fresh([f"temperature.value={value}", *short]))
        if number in counts:  # between the separate runs, so that both see the same machine
            sweeps[number] = _fresh(
                ["-m", _values("temperature.value", temperatures[:number]), *short]
            )
            print(f"  {number} jobs: sweep {sweeps[number]:.1f} s, ", end="")
            print(f"separate runs {sum(separate):.1f} s", flush=True)
    return {
        "separate_seconds": separate,
        "sweep_seconds": {str(count): seconds for count, seconds in sweeps.items()},
        "sweep_to_separate": sweeps[counts[-1]] / sum(separate),
    }


def measure_parallel(quick: bool) -> dict[str, Any]:
    """Time sweeps over seeds, one job after another and two at once.

    Returns:
        Median seconds of 2, 4 and 8 jobs either way, all repeats, and the ratio of 8 jobs.
    """
    short = QUICK if quick else []
    counts = PARALLEL_COUNTS[:1] if quick else PARALLEL_COUNTS
    serial: dict[str, list[float]] = {str(count): [] for count in counts}
    parallel: dict[str, list[float]] = {str(count): [] for count in counts}
    for count in counts:
        repeats = NUM_REPEATS if count == PARALLEL_COUNTS[-1] else 1
        request = ["-m", _values("seed", range(count)), *short]
        for _ in range(repeats):
            serial[str(count)].append(_fresh(request))
            parallel[str(count)].append(_fresh([*request, *PARALLEL]))
            print(f"  {count} jobs: serial {serial[str(count)][-1]:.1f} s, ", end="")
            print(f"two at once {parallel[str(count)][-1]:.1f} s", flush=True)
    largest = str(counts[-1])
    return {
        "serial_seconds": {count: median(values) for count, values in serial.items()},
        "parallel_seconds": {count: median(values) for count, values in parallel.items()},
        "repeats": {"serial": serial, "parallel": parallel},
        "parallel_to_serial": median(parallel[largest]) / median(serial[largest]),
    }


def _fresh(request: list[str]) -> float:
    """Run a request in a new folder, where there is no store, and return its seconds."""
    with TemporaryDirectory(dir=SCRATCH, prefix="sweep-") as folder:
        return program(request, Path(folder))


def _values(key: str, values: Sequence[int]) -> str:
    return f"{key}={','.join(map(str, values))}"
