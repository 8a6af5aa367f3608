"""Terms that pull equally hard, whatever the scale of their values."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from distill_lab.losses.objective import Objective
from distill_lab.training.group import ALONE, Group

SMOOTHING = 0.9  # share of what was known before in each look; our choice


class GradientBalance:
    """Scales every term so that its unweighted gradient has the mean length of all.

    The terms then pull at the student in the ratio of their weights. The mean is geometric, and is
    over the terms that have a gradient; the lengths are smoothed over the looks.

    Args:
        objective: its `scales` are set.
        student: the network whose weights the gradients are of.
        every: batches between two looks, each of which costs a backward pass per term.
    """

    def __init__(self, objective: Objective, student: nn.Module, every: int) -> None:
        self.objective = objective
        self.every = every
        self._parameters = [p for p in student.parameters() if p.requires_grad]
        self._log_norms: dict[str, float] = {}
        self._seen = 0

    def update(self, terms: dict[str, Tensor], group: Group = ALONE) -> None:
        """Look at the gradients of a batch's terms, if it is time to.

        Args:
            terms: unweighted.
            group: the processes that have a part of the gradients.
        """
        if self._seen % self.every == 0:
            self._log_norms = {k: norm for k, norm in self._log_norms.items() if k in terms}
            for name, value in terms.items():
                self._note(name, gradient_norm(value, self._parameters, group))
            self._scale()
        self._seen += 1

    def state_dict(self) -> dict[str, Any]:
        """Return what is known of the terms, and the number of batches that were seen."""
        return {"log_norms": self._log_norms, "seen": self._seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._log_norms, self._seen = state["log_norms"], state["seen"]
        self._scale()

    def _note(self, name: str, norm: float) -> None:
        if 0 < norm < math.inf:
            known = self._log_norms.get(name, math.log(norm))
            self._log_norms[name] = SMOOTHING * known + (1 - SMOOTHING) * math.log(norm)

    def _scale(self) -> None:
        if self._log_norms:
            mean = sum(self._log_norms.values()) / len(self._log_norms)
            scales = {name: math.exp(mean - norm) for name, norm in self._log_norms.items()}
            self.objective.scales |= scales


def gradient_norm(value: Tensor, parameters: list[nn.Parameter], group: Group = ALONE) -> float:
    """Return the length of a scalar's gradient over parameters; its graph is kept."""
    if not value.requires_grad:
        return 0.0
    gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
    means = group.average(gradients)
    squares = [gradient.square().sum() for gradient in means if gradient is not None]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0
