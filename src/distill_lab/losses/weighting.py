"""How much a term counts in the course of training: a factor of its weight."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

STOP = "stop"


def weight_factor(schedule: Mapping[str, Any], epoch: float, num_epochs: int) -> float:
    """Return what a term's weight is multiplied with.

    >>> [weight_factor({"warmup": 4}, epoch, 10) for epoch in (0.0, 1.5, 3.0, 9.0)]
    [0.25, 0.5, 1.0, 1.0]
    >>> weight_factor({"stop": 2}, 1.9, 10), weight_factor({"stop": 2}, 2.0, 10)
    (1.0, 0.0)

    Args:
        schedule: one kind with its numbers, see `settings.Weighting`; empty: always 1. A warm-up
            counts the epoch that is running as done, as mdistiller does.
        epoch: epochs trained so far, >= 0.
        num_epochs: of the training.
    """
    if not schedule:
        return 1.0
    ((kind, numbers),) = schedule.items()
    if kind == "warmup":
        return min((int(epoch) + 1) / float(numbers), 1.0)
    if kind == STOP:
        return float(not has_stopped(schedule, epoch))
    start, end = (float(number) for number in numbers)
    progress = epoch / num_epochs
    share = progress if kind == "linear" else (1 - math.cos(math.pi * progress)) / 2
    return start + (end - start) * share


def has_stopped(schedule: Mapping[str, Any], epoch: float) -> bool:
    """Tell whether a term is over after so many epochs: not computed any more."""
    return epoch >= float(schedule.get(STOP, math.inf))
