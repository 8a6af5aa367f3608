"""Optimizer steps out of the gradients of batches: the plain loop of torch."""

from __future__ import annotations

from math import ceil
from typing import Any

import torch
from torch import nn

from distill_lab.contracts import LossValue
from distill_lab.settings import Regime
from distill_lab.training.dot import DOT
from distill_lab.training.group import ALONE, Group
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
        group: the processes whose mean gradient is followed.

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
        group: Group = ALONE,
    ) -> None:
        self.optimizer = optimizer
        self.regime = regime
        self.num_batches = num_batches
        self.num_steps = regime.epochs * ceil(num_batches / regime.accumulate_batches)
        self.taken = 0
        self._scaler = scaler
        self._group = group
        self._dot = optimizer if isinstance(optimizer, DOT) else None
        self._parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if isinstance(optimizer, torch.optim.SGD):
            _start_momentum(optimizer)

    @property
    def lr(self) -> float:
        """The rate of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def state_dict(self) -> dict[str, Any]:
        """Return what a training that goes on needs, between two steps."""
        return {
            "taken": self.taken,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.taken = state["taken"]
        self.optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])

    def backward(self, value: LossValue, batch_number: int) -> bool:
        """Add a batch's gradient, and step if the batch is the last of its group.

        Args:
            value: its total, with gradient.
            batch_number: in the epoch, counted from 0.

        Returns:
            Whether a step was taken.
        """
        size = self.regime.accumulate_batches
        first = batch_number - batch_number % size
        end = min(first + size, self.num_batches)
        if self._dot is not None and value.distillation:
            self._backward_twice(self._dot, value, end - first)
        else:
            self._scaler.scale(value.total / (end - first)).backward()
        if batch_number + 1 < end:
            return False
        self._step()
        return True

    def _backward_twice(self, dot: DOT, value: LossValue, num_batches: int) -> None:
        """Take the gradient of the distillation aside, then that of the task."""
        distillation = torch.stack(value.distillation).sum() / num_batches
        retain = bool(value.task)
        gradients = torch.autograd.grad(
            distillation, self._parameters, retain_graph=retain, allow_unused=True
        )
        dot.add_distillation(self._group.average(gradients))
        if value.task:
            (torch.stack(value.task).sum() / num_batches).backward()

    def _step(self) -> None:
        # Once a step, and not while the backward pass runs: of some optimizers and weightings a
        # step has several passes, and not every weight has a gradient in each.
        self._group.average_gradients(self._parameters)
        for group in self.optimizer.param_groups:
            group["lr"] = self.regime.lr * lr_factor(self.regime, self.taken, self.num_steps)
        if self.regime.clip_norm is not None:
            self._scaler.unscale_(self.optimizer)
            if self._dot is not None:
                self._dot.clip(self.regime.clip_norm)
            else:
                nn.utils.clip_grad_norm_(self._parameters, self.regime.clip_norm)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.optimizer.zero_grad()
        self.taken += 1


def _start_momentum(optimizer: torch.optim.SGD) -> None:
    """Give every weight a momentum of 0, which is what its first step starts from anyway.

    Fused SGD fails on a weight whose first gradient comes after the others had theirs.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"] if group["momentum"] else ():
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
