"""Wall time of sweeps: against separate runs, and with several jobs at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.startup import program
from bench.workers import SCRATCH

TEMPERATURES = (1, 2, 3, 4, 6, 8, 12, 16)
COUNTS = (1, 2, 4, 8)
PARALLEL_COUNTS = (2, 4, 8)
PARALLEL = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
SMALL = ["regime.epochs=200"]
"""A small job: 13 seconds. Workers need 4 to start, which jobs of 4 seconds would not pay for."""
QUICK = ["data=fake", "regime.epochs=2", "selection.regime.epochs=2"]


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
        Seconds of 2, 4 and 8 jobs either way, and the ratio of 8 jobs.
    """
    short = QUICK if quick else SMALL
    counts = PARALLEL_COUNTS[:1] if quick else PARALLEL_COUNTS
    serial, parallel = {}, {}
    for count in counts:
        request = ["-m", _values("seed", range(count)), *short]
        serial[str(count)] = _fresh(request)
        parallel[str(count)] = _fresh([*request, *PARALLEL])
        print(f"  {count} jobs: serial {serial[str(count)]:.1f} s, ", end="")
        print(f"two at once {parallel[str(count)]:.1f} s", flush=True)
    largest = str(counts[-1])
    return {
        "serial_seconds": serial,
        "parallel_seconds": parallel,
        "parallel_to_serial": parallel[largest] / serial[largest],
    }


def _fresh(request: list[str]) -> float:
    """Run a request in a new folder, where there is no store, and return its seconds."""
    with TemporaryDirectory(dir=SCRATCH, prefix="sweep-") as folder:
        return program(request, Path(folder))


def _values(key: str, values: Sequence[int]) -> str:
    return f"{key}={','.join(map(str, values))}"
