"""Sixteen processes at once that log to one store: `python -m tests.tracking.crowd URI`."""

from __future__ import annotations

import os
import sys
import time

from distill_lab.tracking import run as run_module
from distill_lab.tracking.store import Store

NUM_JOBS = 16
NUM_STEPS = 200
NAMES = ("a", "b", "c")
EXPERIMENT = "crowd"


def value(job: int, name: str, step: int) -> float:
    """Return what a job logs, different from all else that is logged."""
    return job * 10_000 + NAMES.index(name) * 1_000 + step


def work(uri: str, job: int) -> None:
    """Log a curve in many small batches, and an artifact."""
    store = Store(uri, EXPERIMENT, None, was_there=True)
    with store.start(f"job {job}", {"job": str(job)}) as run:
        for step in range(NUM_STEPS):
            run.log_metrics({name: value(job, name, step) for name in NAMES}, step)
            time.sleep(0.01)
        run.log_json({"job": job}, "job.json")


def main(uri: str) -> int:
    """Fork the jobs, and return how many failed."""
    run_module.FLUSH_SECONDS = 0.1
    numbers = []
    for job in range(NUM_JOBS):
        number = os.fork()
        if number == 0:
            code = 1
            try:
                work(uri, job)
                code = 0
            finally:
                os._exit(code)
        numbers.append(number)
    return sum(os.waitpid(number, 0)[1] != 0 for number in numbers)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
