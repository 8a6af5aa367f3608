"""Where a copy of the program is hit, from inside, so that it is at an exact place every time."""

from __future__ import annotations

import os
import resource
import signal
from importlib import import_module
from pathlib import Path
from typing import Any

from distill_lab.training.trainee import Trainee


def set_trap(
    in_batch: int | None = None,
    at_end_of: str | None = None,
    at_start_of: str | None = None,
    number: int = signal.SIGKILL,
    limit_file_bytes: int | None = None,
    limit_memory_mib: int | None = None,
) -> None:
    """Send this process a signal in the middle of a batch, or at an end of a stage; or limit it.

    Args:
        in_batch: the one so many batches of any training after the first.
        at_end_of: module of a stage, hit when its work is done and not yet handed on.
        at_start_of: module of a stage, hit when its run is open and nothing is done.
        number: of the signal.
        limit_file_bytes: the most that a file may have, beyond which writing fails.
        limit_memory_mib: the most that the process may take beyond what it has.
    """
    if limit_file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_file_bytes, limit_file_bytes))
    if limit_memory_mib is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + limit_memory_mib * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    if in_batch is not None:
        _hit_in_batch(in_batch, number)
    if at_end_of is not None:
        _hit_around(at_end_of, number, before=False)
    if at_start_of is not None:
        _hit_around(at_start_of, number, before=True)


def _hit_in_batch(count: int, number: int) -> None:
    step, had = Trainee.training_step, [0]

    def hit(self: Trainee, batch: Any, batch_idx: int) -> None:
        if len(batch.index):
            had[0] += 1
            if had[0] == count + 1:
                os.kill(os.getpid(), number)
        step(self, batch, batch_idx)

    Trainee.training_step = hit  # type: ignore[method-assign]


def _hit_around(stage: str, number: int, before: bool) -> None:
    module: Any = import_module(f"distill_lab.stages.{stage}")
    work = module.run

    def run(*handed: Any) -> Any:
        if before:
            os.kill(os.getpid(), number)
        done = work(*handed)
        if not before:
            os.kill(os.getpid(), number)
        return done

    module.run = run
