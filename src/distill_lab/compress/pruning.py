"""What the two ways of pruning are told: how much, and in how many rounds."""

from __future__ import annotations

from distill_lab.compress.base import Step
from distill_lab.compress.ranges import require_fraction, require_rounds


class Pruning(Step):
    """Takes a share of something out, in rounds with a training after each.

    Args:
        fraction: of what a subclass says, in (0, 1).
        rounds: >= 1; the share that is left shrinks by the same factor in each.
        epochs: of training after each round; 0 for none.

    Raises:
        ValueError: a number is out of range.
    """

    def __init__(self, fraction: float, rounds: int, epochs: int) -> None:
        require_fraction(fraction)
        require_rounds(rounds, epochs)
        self.fraction = fraction
        self.rounds = rounds
        self.epochs = epochs

    def left_after(self, number: int) -> float:
        """Return the share that is left after the round of a number, counted from 0."""
        return float((1 - self.fraction) ** ((number + 1) / self.rounds))
