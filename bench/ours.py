"""The package's own loop: the training of stage 5 without its tracking."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from time import perf_counter
from typing import Any

import pytorch_lightning as pl
import torch

from bench.serve import serve, settle
from bench.task import NUM_THREADS
from distill_lab.contracts import DataInfo, Parts
from distill_lab.knowledge.cache import AnswerCache
from distill_lab.launch import checked
from distill_lab.training.connect import connected_objective
from distill_lab.training.distiller import Distiller
from distill_lab.training.fit import fit

NUM_EPOCHS = 2  # one to warm up and one that is timed; each is a view of its own


class EpochClock(pl.Callback):
    """Seconds from an epoch's start to the end of its last step, and of what the cache then writes.

    Validation, which comes between, is left out.

    Attributes:
        seconds: one number per epoch.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._start = 0.0

    def on_train_epoch_start(self, *args: Any) -> None:
        """Start an epoch."""
        self._start = perf_counter()
        self.seconds.append(0.0)

    def on_train_batch_end(self, *args: Any) -> None:
        """Note the time so far."""
        self.seconds[-1] = perf_counter() - self._start


class Timed(Distiller):
    """The package's module, with a clock that Lightning takes from it."""

    clock: EpochClock

    def configure_callbacks(self) -> list[pl.Callback]:
        """Hand over the clock."""
        return [self.clock]

    def on_train_epoch_end(self) -> None:
        """Count what the cache writes as a part of the epoch."""
        start = perf_counter()
        super().on_train_epoch_end()
        self.clock.seconds[-1] += perf_counter() - start


def timed(parts: Parts, info: DataInfo, num_samples: int, cache: AnswerCache | None) -> Timed:
    """Make the module of stage 5, a new student of a new teacher, with a clock of its own."""
    torch.manual_seed(parts.seed)
    teacher, student = parts.teachers[0].make_network(info), parts.students[0].make_network(info)
    objective = connected_objective(
        parts.loss, student, [teacher], info.input_shape, num_samples, parts.seed
    )
    temperature = parts.temperature.make()
    trainee = Timed(
        student,
        [teacher],
        objective,
        temperature,
        parts.regime,
        info.num_classes,
        parts.seed,
        [cache],
    )
    trainee.clock = EpochClock()
    return trainee


class Ours:
    """A training as stage 5 makes it.

    Args:
        parts: the checked run; its data are made up.
        loop: ours_uncached, ours_filling or ours_cached.
        folder: where a cache may be.
    """

    def __init__(self, parts: Parts, loop: str, folder: Path) -> None:
        self.parts = replace(parts, regime=replace(parts.regime, epochs=NUM_EPOCHS))
        self.loop = loop
        self.folder = folder
        self.splits = parts.data.load()
        self.num_images = len(self.splits.train.targets)
        if loop == "ours_cached":
            self.train(self.cache(folder))

    def repeat(self) -> dict[str, Any]:
        """Train once and return the speed of the last epoch.

        Raises:
            RuntimeError: the cache did not do what the loop is named for.
        """
        if self.loop == "ours_uncached":
            return {"images_per_second": self.train(None)}
        folder = self.folder
        if self.loop == "ours_filling":
            folder = Path(mkdtemp(dir=self.folder))
        cache = self.cache(folder)
        speed = self.train(cache)
        self._check(cache)
        num_bytes = cache.num_bytes
        if self.loop == "ours_filling":
            shutil.rmtree(folder)
        return {"images_per_second": speed, "cache_bytes": num_bytes}

    def cache(self, folder: Path) -> AnswerCache:
        """Open a cache as stage 5 does."""
        parts = self.parts
        regime = parts.regime
        changing = bool(regime.shift_pixels or regime.horizontal_flip)
        num_classes = parts.data.info.num_classes
        return AnswerCache(folder, self.num_images, num_classes, {}, parts.cache, changing)

    def train(self, cache: AnswerCache | None) -> float:
        """Train a new student of a new teacher; return images per second of the last epoch."""
        parts, info = self.parts, self.parts.data.info
        trainee = timed(parts, info, self.num_images, cache)
        fit(
            trainee,
            info,
            self.splits,
            parts.regime,
            parts.hardware,
            parts.seed,
            self.loop,
            lambda row, epoch: None,
        )
        return self.num_images / trainee.clock.seconds[-1]

    def _check(self, cache: AnswerCache) -> None:
        counts = (cache.num_read, cache.num_computed)
        every = NUM_EPOCHS * self.num_images
        wanted = (every, 0) if self.loop == "ours_cached" else (0, every)
        if counts != wanted:
            raise RuntimeError(f"{self.loop}: {counts} answers read and computed, not {wanted}.")


def main(loop: str, given: str) -> None:
    """Serve one of the three loops."""

    def make() -> Callable[[], dict[str, Any]]:
        settle(NUM_THREADS)
        values = json.loads(given)
        return Ours(checked(values["overrides"]), loop, Path(values["folder"])).repeat

    serve(make)


if __name__ == "__main__":
    main(*sys.argv[1:])
