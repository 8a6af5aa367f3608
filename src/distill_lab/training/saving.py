"""Saves a training every so often, and puts the next one where a stopped one was."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any, cast

import pytorch_lightning as pl
import torch

from distill_lab.stopping import Stopping
from distill_lab.training.callbacks import KeepWeights
from distill_lab.training.checkpoint import Checkpoint
from distill_lab.training.trainee import Trainee


class SaveProgress(pl.Callback):
    """A training that goes on from a checkpoint gives the numbers of one that was not stopped.

    Augmentation, order and mixing are pure functions of (seed, sample, epoch), so all there is to
    keep is: weights and what else is in the state of modules, optimizer, steps, sums of the running
    epoch, the curve, the best weights so far, and torch's random numbers. It is saved after a batch
    that ended in a step, when no gradient is held. The batches that were had before are passed over
    as empty ones, and at the end of the last of them all is put back.

    Args:
        checkpoint: where to.
        keep: is saved too.
        stopping: whether it was told to end, which is done after the next save.
        send: called for each epoch that was finished before, with its row.
        saved: what the checkpoint has; None: the training begins.
        start: when it began, by `perf_counter`, less what earlier calls took.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        keep: KeepWeights,
        stopping: Stopping,
        send: Callable[[dict[str, float], int], None],
        saved: dict[str, Any] | None,
        start: float,
    ) -> None:
        self.checkpoint = checkpoint
        self.keep = keep
        self.stopping = stopping
        self.send = send
        self.start = start
        self._saved = saved
        self._position = (0, 0)
        self._due = perf_counter() + checkpoint.every_seconds

    def setup(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """Begin with the epoch that was running."""
        if self._saved is not None:
            progress: Any = trainer.fit_loop.epoch_progress.current
            progress.processed = progress.completed = self._saved["position"][0]

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Put back what was saved after this batch; or save, if it is time to."""
        trainee = cast(Trainee, module)
        here = (trainer.current_epoch, batch_idx + 1)
        if self._saved is not None:
            if here == tuple(self._saved["position"]):
                self._restore(trainee, self._saved)
                self._saved = None
            else:
                self.stopping.hand_on()
        if trainee.between_steps and self._saved is None:
            self._position = here
            if self.stopping.told or perf_counter() >= self._due:
                self._save(trainee)

    def on_validation_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, *args: Any
    ) -> None:
        """Save, if it was told to end, what the epoch's last batch left: nothing has changed."""
        if self.stopping.told:
            self._save(cast(Trainee, module))

    def _save(self, trainee: Trainee) -> None:
        self.checkpoint.write(
            {
                "position": self._position,
                "module": trainee.state_dict(),
                "training": trainee.progress_state(),
                "kept": self.keep.state_dict(),
                "random": _random_state(trainee.device),
                "seconds": perf_counter() - self.start,
            }
        )
        self._due = perf_counter() + self.checkpoint.every_seconds
        self.stopping.hand_on()

    def _restore(self, trainee: Trainee, saved: dict[str, Any]) -> None:
        trainee.load_state_dict(saved["module"])
        trainee.restore_progress(saved["training"])
        self.keep.load_state_dict(saved["kept"])
        for epoch, row in enumerate(trainee.curve):
            self.send(row, epoch)
        _set_random_state(trainee.device, saved["random"])


def _random_state(device: torch.device) -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_random_state(device: torch.device, states: dict[str, torch.Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
