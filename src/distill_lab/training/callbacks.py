"""What happens at the end of each epoch: keep the best weights, send the curve, move the bar."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor
from tqdm import tqdm

from distill_lab.contracts import Quality
from distill_lab.errors import Pruned
from distill_lab.training.group import unsharded
from distill_lab.training.trainee import Trainee

Watch = Callable[[int, float], bool]
"""Told of epochs done and quality on validation; says whether the training is to end here."""
QUIET_SECONDS = 10.0  # between two states of a progress bar that goes to a file


class KeepWeights(pl.Callback):
    """Remembers the weights to be kept, and stops a training that no longer gets better.

    Better means higher quality on validation, and at equal quality lower NLL.

    Args:
        best: keep the weights of the best epoch, rather than of the last.
        patience: epochs without a better one before it stops; None: never.
        quality: what epochs are compared by.

    Attributes:
        state: state dict of the kept network.
        epoch: the epoch it is of, counted from 0.
    """

    def __init__(self, best: bool, patience: int | None, quality: Quality) -> None:
        self.best = best
        self.patience = patience
        self.quality = quality
        self.state: dict[str, Tensor] = {}
        self.epoch = -1
        self._rank = (float("-inf"), float("-inf"))
        self._best_epoch = -1

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Compare the epoch with the best one so far."""
        trainee = cast(Trainee, module)
        row = trainee.curve[-1]
        rank = (row[f"val/{self.quality.key}"], -row["val/nll"])
        if better := rank > self._rank:
            self._rank, self._best_epoch = rank, trainer.current_epoch
        if better or not self.best:
            self._take(trainee.kept.state_dict(), trainer.current_epoch)
        waited = trainer.current_epoch - self._best_epoch
        if self.patience is not None and waited >= self.patience:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """Return the weights kept so far and what they were compared by."""
        return {
            "weights": self.state,
            "epoch": self.epoch,
            "rank": self._rank,
            "best_epoch": self._best_epoch,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.state, self.epoch = state_dict["weights"], state_dict["epoch"]
        self._rank, self._best_epoch = state_dict["rank"], state_dict["best_epoch"]

    def _take(self, state: dict[str, Tensor], epoch: int) -> None:
        """Copy into the memory of the weights kept before."""
        self.epoch = epoch
        state = {name: unsharded(value) for name, value in state.items()}
        if not self.state:
            self.state = {name: torch.empty_like(value) for name, value in state.items()}
        for name, value in state.items():
            self.state[name].copy_(value)


class SendCurve(pl.Callback):
    """Hands each epoch's row to a logger, once per epoch."""

    def __init__(self, send: Callable[[dict[str, float], int], None]) -> None:
        self.send = send

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Send the newest row."""
        self.send(cast(Trainee, module).curve[-1], trainer.current_epoch)


class Prune(pl.Callback):
    """Ends a training that falls behind; what is left after the last epoch is a training done.

    Of a training that goes on from a checkpoint the watch is first told of the epochs before: it
    may not know them. Its answer to the newest one counts.

    Raises:
        Pruned: the watch said so.
    """

    def __init__(self, watch: Watch, quality: Quality) -> None:
        self.watch = watch
        self.quality = quality
        self._told = 0

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Tell of the epoch, and stop if that is the answer."""
        curve, is_behind = cast(Trainee, module).curve, False
        for row in curve[self._told :]:
            self._told += 1
            is_behind = self.watch(self._told, row[f"val/{self.quality.key}"])
        epoch, num_epochs = trainer.current_epoch + 1, int(trainer.max_epochs or 0)
        if is_behind and epoch < num_epochs and not trainer.should_stop:
            raise Pruned(epoch, num_epochs)


class Bar(pl.Callback):
    """One live line per training: epochs done and the newest quality on validation."""

    def __init__(self, title: str, quality: Quality) -> None:
        self.title = title
        self.quality = quality
        self._line: tqdm | None = None

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Open the line."""
        form = "{desc} |{bar:24}| {percentage:3.0f}% [{elapsed}<{remaining}]{postfix}"
        live, batches = sys.stderr.isatty(), int(trainer.num_training_batches)
        self._line = tqdm(
            initial=batches * trainer.current_epoch,
            total=batches * int(trainer.max_epochs or 0),
            desc=f"  {self.title:<44.44}",
            bar_format=form,
            mininterval=0.1 if live else QUIET_SECONDS,
        )

    def on_train_batch_end(self, *args: Any) -> None:
        """Move on by a batch; what is not due to be shown is only counted."""
        if self._line is not None:
            self._line.update()

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Show the newest quality on validation."""
        if self._line is not None:
            newest = cast(Trainee, module).curve[-1][f"val/{self.quality.key}"]
            text = f" epoch {trainer.current_epoch + 1}, val {self.quality.label} {newest:.4f}"
            self._line.set_postfix_str(text, refresh=False)

    def teardown(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """Close the line."""
        self._close()

    def on_exception(
        self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Close the line of a training that failed; Lightning then leaves `teardown` out."""
        self._close()

    def _close(self) -> None:
        if self._line is not None:
            self._line.close()
