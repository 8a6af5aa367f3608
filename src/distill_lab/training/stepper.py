"""Optimizer steps out of the gradients of batches: the plain loop of torch."""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor, nn

from distill_lab.settings import Regime
from distill_lab.training.schedule import lr_factor


class Stepper:
    """Accumulates gradients, clips them, sets the learning rate and steps.

    A step follows the mean gradient of `accumulate_batches` batches, each of them a mean over its
    samples. The batches that are left at an epoch's end make a step of their own, again with their
    mean. The schedule counts steps.

    Args:
        optimizer: of everything trainable.
        regime: how to train.
        num_batches: of an epoch.
        scaler: of 16-bit gradients; disabled where there are none.

    Attributes:
        num_steps: of the whole training.
        taken: steps taken so far.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        regime: Regime,
        num_batches: int,
        scaler: torch.amp.GradScaler,
    ) -> None:
        self.optimizer = optimizer
        self.regime = regime
        self.num_batches = num_batches
        self.num_steps = regime.epochs * ceil(num_batches / regime.accumulate_batches)
        self.taken = 0
        self._scaler = scaler
        self._parameters = [p for group in optimizer.param_groups for p in group["params"]]

    @property
    def lr(self) -> float:
        """The rate of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def backward(self, loss: Tensor, batch_number: int) -> bool:
        """Add a batch's gradient, and step if the batch is the last of its group.

        Args:
            loss: scalar with gradient.
            batch_number: in the epoch, counted from 0.

        Returns:
            Whether a step was taken.
        """
        size = self.regime.accumulate_batches
        first = batch_number - batch_number % size
        end = min(first + size, self.num_batches)
        self._scaler.scale(loss / (end - first)).backward()
        if batch_number + 1 < end:
            return False
        self._step()
        return True

    def _step(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.regime.lr * lr_factor(self.regime, self.taken, self.num_steps)
        if self.regime.clip_norm is not None:
            self._scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self._parameters, self.regime.clip_norm)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.optimizer.zero_grad()
        self.taken += 1
