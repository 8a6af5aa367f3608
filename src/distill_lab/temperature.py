"""Temperature schedules: training progress in, temperature out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod


def _check(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name}: must be > 0, got {value}.")


def _check_part(fraction: float) -> None:
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction: must be in (0, 1], got {fraction}.")


class Temperature(ABC):
    """A function from training progress to the temperature all terms of a step share."""

    @abstractmethod
    def __call__(self, progress: float) -> float:
        """Return the temperature, > 0, at `progress` in [0, 1]: 0 first step, 1 the end."""


class Constant(Temperature):
    """The same temperature throughout.

    >>> Constant(4.0)(0.5)
    4.0
    """

    def __init__(self, value: float) -> None:
        _check(value=value)
        self.value = value

    def __call__(self, progress: float) -> float:
        """Return the value."""
        return self.value


class Linear(Temperature):
    """From `start` to `end` in a straight line.

    >>> Linear(8.0, 2.0)(0.5)
    5.0
    """

    def __init__(self, start: float, end: float) -> None:
        _check(start=start, end=end)
        self.start, self.end = start, end

    def __call__(self, progress: float) -> float:
        """Return the interpolated temperature."""
        return self.start + (self.end - self.start) * progress


class Cosine(Temperature):
    """From `start` to `end` along half a cosine: slow at both ends.

    >>> Cosine(8.0, 2.0)(0.5)
    5.0
    """

    def __init__(self, start: float, end: float) -> None:
        _check(start=start, end=end)
        self.start, self.end = start, end

    def __call__(self, progress: float) -> float:
        """Return the interpolated temperature."""
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * progress)) / 2


class Warmup(Temperature):
    """From `start` to `end` in a straight line during the first part of training, then `end`.

    >>> warmup = Warmup(1.0, 5.0, 0.5)
    >>> warmup(0.25), warmup(0.5), warmup(0.9)
    (3.0, 5.0, 5.0)
    """

    def __init__(self, start: float, end: float, fraction: float) -> None:
        _check(start=start, end=end)
        _check_part(fraction)
        self.start, self.end, self.fraction = start, end, fraction

    def __call__(self, progress: float) -> float:
        """Return the interpolated temperature."""
        return self.start + (self.end - self.start) * min(progress / self.fraction, 1.0)


class Stop(Temperature):
    """`start` during the first part of training, then `end`.

    >>> stop = Stop(4.0, 1.0, 0.5)
    >>> stop(0.25), stop(0.5)
    (4.0, 1.0)
    """

    def __init__(self, start: float, end: float, fraction: float) -> None:
        _check(start=start, end=end)
        _check_part(fraction)
        self.start, self.end, self.fraction = start, end, fraction

    def __call__(self, progress: float) -> float:
        """Return one of the two."""
        return self.start if progress < self.fraction else self.end
