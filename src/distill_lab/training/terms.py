"""The loss terms of an epoch: their means, and the check that they are finite."""

from __future__ import annotations

from math import isfinite
from typing import Any

import torch
from torch import Tensor

from distill_lab.contracts import LossValue
from distill_lab.errors import Diverged


class EpochTerms:
    """Collects the terms of every batch without making a GPU wait for each.

    Args:
        check_every: batches whose values are looked at together, >= 1. With 1 a training stops
            before the step that would spoil the weights; with more it stops some steps later.
    """

    def __init__(self, check_every: int) -> None:
        self.check_every = check_every
        self._epoch = 0
        self._names: list[str] = []
        self._unchecked: list[Tensor] = []
        self._checked: list[dict[str, float]] = []

    def add(self, value: LossValue) -> None:
        """Take the next batch of the epoch.

        Raises:
            Diverged: a value is not finite, now or in a batch that was not looked at before.
        """
        names = [*value.terms, "total"]
        if names != self._names:  # a term has stopped
            self._check()
        self._names = names
        scalars = [*value.terms.values(), value.total]
        self._unchecked.append(torch.stack([scalar.detach() for scalar in scalars]))
        if len(self._unchecked) == self.check_every:
            self._check()

    def finish_epoch(self) -> dict[str, float]:
        """Return the mean of each term and of the total over its batches, and start anew.

        Raises:
            Diverged: a value is not finite.
        """
        self._check()
        columns: dict[str, list[float]] = {}
        for values in self._checked:
            for name, value in values.items():
                columns.setdefault(name, []).append(value)
        self._epoch += 1
        self._checked = []
        return {name: sum(column) / len(column) for name, column in columns.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch's number and what its batches gave.

        Raises:
            Diverged: a value is not finite.
        """
        self._check()
        return {"epoch": self._epoch, "batches": self._checked}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._epoch, self._checked = state["epoch"], state["batches"]

    def _check(self) -> None:
        if not self._unchecked:
            return
        for values in torch.stack(self._unchecked).tolist():
            if not all(map(isfinite, values)):
                raise Diverged(self._not_finite(values))
            self._checked.append(dict(zip(self._names, values, strict=True)))
        self._unchecked = []

    def _not_finite(self, values: list[float]) -> str:
        terms = dict(zip(self._names[:-1], values, strict=False))
        listed = ", ".join(f"{name} = {term:.4g}" for name, term in terms.items())
        bad = [name for name, term in terms.items() if not isfinite(term)]
        blame = f"loss term {bad[0]!r}" if bad else "the weighted total"
        end = "before the step" if self.check_every == 1 else f"within {self.check_every} steps"
        return (
            f"epoch {self._epoch}, batch {len(self._checked)}: {blame} is not finite ({listed}); "
            f"stopped {end}. "
            "Lower the learning rate (regime.lr), or clip the gradient (regime.clip_norm=1.0)."
        )
