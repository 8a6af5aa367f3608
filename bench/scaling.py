"""Cost against the number of samples and classes: of the cache, and of an epoch that reads it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import replace
from io import StringIO
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch

from bench.ours import timed
from bench.task import NUM_THREADS
from bench.workers import SCRATCH
from distill_lab.contracts import Arrays, DataInfo, Output, Parts, Splits
from distill_lab.knowledge.cache import AnswerCache
from distill_lab.launch import checked
from distill_lab.training.fit import fit

BATCH_SIZE = 128
SAMPLES = (1_000, 10_000, 100_000, 1_000_000)
SAMPLES_CLASSES = 10
CLASSES = (10, 100, 1_000, 10_000, 100_000)
CLASSES_SAMPLES = 2_048
TOP_K = 50
INPUT_SHAPE = (1, 8, 8)
REQUEST = [
    "data=fake",
    "architecture@teacher=mlp_30",
    "architecture@student=mlp_30",
    "regime=sgd_step",
    f"regime.batch_size={BATCH_SIZE}",
    "regime.epochs=3",
    "loss=[ce,kd]",
    f"hardware.threads={NUM_THREADS}",
]


def measure(quick: bool) -> dict[str, Any]:
    """Return one row per size: seconds to write, read and train on N answers, and their bytes."""
    sizes = SAMPLES[:2] if quick else SAMPLES
    numbers = CLASSES[:2] if quick else CLASSES
    parts = checked(REQUEST)
    torch.set_num_threads(NUM_THREADS)
    rows = {
        "samples": [measure_size(parts, size, SAMPLES_CLASSES, None) for size in sizes],
        "classes": [measure_size(parts, CLASSES_SAMPLES, k, None) for k in numbers],
        "classes_top_k": [
            measure_size(parts, CLASSES_SAMPLES, k, TOP_K) for k in numbers if k > TOP_K
        ],
    }
    return {**rows, "top_k": TOP_K, "batch_size": BATCH_SIZE}


def measure_size(
    parts: Parts, num_samples: int, num_classes: int, top_k: int | None
) -> dict[str, float]:
    """Fill a cache with made-up answers, read it in another order, and train on it."""
    with TemporaryDirectory(dir=SCRATCH, prefix="scaling-") as folder:

        def cache() -> AnswerCache:
            settings = replace(parts.cache, top_k=top_k)
            return AnswerCache(Path(folder), num_samples, num_classes, {}, settings, changing=False)

        answers = torch.randn(BATCH_SIZE, num_classes)
        order = torch.arange(num_samples)
        written = cache()
        write = _pass_seconds(
            order,
            lambda index: written.write(index, 0, Output(answers[: len(index)])),
            written.finish_pass,
        )
        read = _pass_seconds(
            order[torch.randperm(num_samples)], lambda index: written.read(index, 0)
        )
        if written.num_read != num_samples:
            raise RuntimeError(f"{written.num_read} answers of {num_samples} could be read.")
        row = {
            "num_samples": num_samples,
            "num_classes": num_classes,
            "write_seconds": write,
            "read_seconds": read,
            "epoch_seconds": _epoch_seconds(parts, num_samples, num_classes, cache()),
            "cache_bytes": written.num_bytes,
        }
    print(f"  {_line(row)}", flush=True)
    return row


def _pass_seconds(
    order: torch.Tensor,
    do: Callable[[torch.Tensor], Any],
    finish: Callable[[], None] = lambda: None,
) -> float:
    start = perf_counter()
    for index in order.split(BATCH_SIZE):
        do(index)
    finish()
    return perf_counter() - start


def _epoch_seconds(parts: Parts, num_samples: int, num_classes: int, cache: AnswerCache) -> float:
    """Return the seconds of an epoch, after a first one, of a student that only reads answers."""
    names = tuple(map(str, range(num_classes)))
    info = DataInfo("made up", INPUT_SHAPE, num_classes, names, (0.5,), (0.3,))
    targets = torch.arange(num_samples) % num_classes
    train = Arrays(torch.rand(num_samples, *INPUT_SHAPE), targets)
    few = Arrays(train.inputs[:BATCH_SIZE], targets[:BATCH_SIZE])
    trainee = timed(parts, info, num_samples, cache)
    splits = Splits(train, few, few)
    title = f"{num_samples} samples, {num_classes} classes"
    with redirect_stderr(StringIO()):  # the bar
        fit(
            trainee,
            info,
            splits,
            parts.regime,
            parts.hardware,
            parts.seed,
            title,
            lambda row, epoch: None,
        )
    if cache.num_computed:
        raise RuntimeError(f"{cache.num_computed} answers were computed, none should be.")
    return median(trainee.clock.seconds[1:])


def _line(row: dict[str, float]) -> str:
    return (
        f"{row['num_samples']:,.0f} samples x {row['num_classes']:,.0f} classes: "
        f"write {row['write_seconds']:.2f} s, read {row['read_seconds']:.2f} s, "
        f"epoch {row['epoch_seconds']:.2f} s, {row['cache_bytes'] / 2**20:,.1f} MiB"
    )
