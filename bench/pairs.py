"""Images per second of every loop on both pairs, loop after loop, several times over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from bench.task import PAIRS, overrides_of, task_of
from bench.workers import SCRATCH, Worker, install_peer

LOOPS = (
    "bare_student",
    "bare_kd",
    "ours_uncached",
    "ours_filling",
    "ours_cached",
    "torchdistill",
)
RATIOS = (
    ("ours_cached", "bare_student"),
    ("ours_cached", "bare_kd"),
    ("ours_cached", "ours_uncached"),
    ("ours_cached", "torchdistill"),
    ("ours_uncached", "bare_kd"),
    ("ours_uncached", "torchdistill"),
    ("ours_filling", "ours_uncached"),
)
NUM_REPEATS = 12
"""Every loop comes as often in each place of the order."""


def measure(quick: bool) -> dict[str, Any]:
    """Return the results of both pairs.

    Args:
        quick: a few steps and two repeats, to see that everything runs.
    """
    install_peer()
    repeats = {pair: _repeats(pair, 2 if quick else NUM_REPEATS, quick) for pair in PAIRS}
    return {pair: summary(answers) for pair, answers in repeats.items()}


def summary(answers: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return medians, ratios and everything behind them.

    A ratio is the median of the ratios within a repeat, not that of two medians: a processor whose
    clock changes between repeats then changes both numbers of a ratio.

    Args:
        answers: loop -> what it said in each repeat.
    """
    speeds = {loop: [a["images_per_second"] for a in said] for loop, said in answers.items()}
    ratios = {name_of(a, b): ratios_of(speeds[a], speeds[b]) for a, b in RATIOS}
    last = {loop: said[-1] for loop, said in answers.items()}
    return {
        **{loop: median(values) for loop, values in speeds.items()},
        "ratios": {name: median(values) for name, values in ratios.items()},
        "ratio_ranges": {name: _range(values) for name, values in ratios.items()},
        "ranges": {loop: _range(values) for loop, values in speeds.items()},
        "repeats": speeds,
        "peak_memory_mib": {loop: answer["peak_memory_mib"] for loop, answer in last.items()},
        "cache_bytes": last["ours_cached"]["cache_bytes"],
        "torchdistill_workers": last["torchdistill"]["num_workers"],
        "torchdistill_tried": last["torchdistill"]["tried"],
    }


def name_of(loop: str, other: str) -> str:
    """Return the name of a ratio.

    >>> name_of("ours_cached", "bare_student")
    'cached_to_bare_student'
    """
    return f"{loop.removeprefix('ours_')}_to_{other.removeprefix('ours_')}"


def ratios_of(above: list[float], below: list[float]) -> list[float]:
    """Return the ratio within each repeat."""
    return [a / b for a, b in zip(above, below, strict=True)]


def _range(values: list[float]) -> list[float]:
    return [min(values), max(values)]


def _repeats(pair: str, num_repeats: int, quick: bool) -> dict[str, list[dict[str, Any]]]:
    answers: dict[str, list[dict[str, Any]]] = {loop: [] for loop in LOOPS}
    with _workers(pair, quick) as workers:
        for number in range(num_repeats):
            first = number % len(LOOPS)
            for loop in (*LOOPS[first:], *LOOPS[:first]):
                answers[loop].append(workers[loop].repeat())
            speeds = ", ".join(
                f"{loop} {answers[loop][-1]['images_per_second']:,.0f}" for loop in LOOPS
            )
            print(f"  {pair} {number + 1}/{num_repeats} images/s: {speeds}", flush=True)
    return answers


@contextmanager
def _workers(pair: str, quick: bool) -> Iterator[dict[str, Worker]]:
    """Start a process per loop, one after the other, and end them all."""
    overrides = overrides_of(pair, quick)
    task = task_of(overrides).plain
    with ExitStack() as stack:
        workers = {}
        for loop in LOOPS:
            folder = Path(stack.enter_context(TemporaryDirectory(dir=SCRATCH, prefix=f"{loop}-")))
            given = {"overrides": overrides, "task": task, "folder": str(folder)}
            workers[loop] = Worker(loop, given)
            stack.callback(workers[loop].close)
        yield workers
