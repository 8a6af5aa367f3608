"""Whether one network is better than another on the same samples, or the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

ROUNDING = 1e-9  # of the largest difference: equal ones of two fractions differ by as much
LEVEL = 0.05
"""A p-value below it is called a difference."""


@dataclass(frozen=True)
class Discordant:
    """Samples on which exactly one of two networks is right, and what they say.

    Attributes:
        only_first: samples that only the first one has right.
        only_second: samples that only the second one has right.
    """

    only_first: int
    only_second: int

    @property
    def p_value(self) -> float:
        """See `mcnemar`."""
        return sign_test(self.only_first, self.only_second)

    @property
    def tells_apart(self) -> bool:
        """Whether one of the two is better, by this test alone."""
        return self.p_value < LEVEL


def mcnemar(first_right: Tensor, second_right: Tensor) -> Discordant:
    """McNemar's test, exact and two-sided: how often two equal networks differ by as much.

    Samples that both have right, or both have wrong, say nothing of a difference; the others are
    tosses of a fair coin, if the networks are equally good. Source: McNemar 1947, "Note on the
    sampling error of the difference between correlated proportions or percentages", Psychometrika
    12. The binomial sum takes the place of its chi-squared value, which is off where only a few
    samples differ.

    Args:
        first_right: (N,) bool.
        second_right: (N,) bool.

    Raises:
        ValueError: the shapes differ.
    """
    if first_right.shape != second_right.shape or first_right.ndim != 1:
        raise ValueError(
            "first_right, second_right: must both be (N,), got "
            f"{tuple(first_right.shape)} and {tuple(second_right.shape)}."
        )
    only_first = int((first_right & ~second_right).sum())
    only_second = int((second_right & ~first_right).sum())
    return Discordant(only_first, only_second)


def sign_test(wins: int, losses: int) -> float:
    """Return the two-sided p-value of so many wins and losses of a fair coin; 1 without any.

    >>> sign_test(5, 0)
    0.0625
    """
    from scipy.special import bdtr

    tail = float(bdtr(min(wins, losses), wins + losses, 0.5)) if wins + losses else 1.0
    return min(1.0, 2 * tail)


def paired_t(differences: Sequence[float]) -> float | None:
    """Return the two-sided p-value of Student's t-test for paired values.

    None for less than two of them, or where all are equal: there is no spread to hold them against.

    Args:
        differences: first minus second, one for each seed.
    """
    spread = stdev(differences) if len(differences) > 1 else 0.0
    if spread <= ROUNDING * max(map(abs, differences), default=0.0):
        return None
    from scipy.special import stdtr

    size = abs(mean(differences)) / spread * len(differences) ** 0.5
    return 2 * float(stdtr(len(differences) - 1, -size))
