"""How far a number may be from what other samples, or other seeds, would have given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """Where a number lies with `CONFIDENCE`."""

    low: float
    high: float


def resampled_means(values: Tensor, num_resamples: int, seed: int) -> Tensor:
    """Means over samples that are drawn anew, with replacement, the same ones for all columns.

    Source: Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 6. How often each
    row is drawn is a multinomial number; equal rows share one, which changes no distribution and
    makes the cost one of different rows.

    Args:
        values: (N, M), M numbers of each sample, e.g. whether each of M networks is right.
        num_resamples: R, >= 1.
        seed: any integer; decides the draws.

    Returns:
        (R, M) float64.

    Raises:
        ValueError: there are no samples, or no resamples.
    """
    if values.ndim != 2 or not len(values) or num_resamples < 1:
        raise ValueError(
            "values, num_resamples: must be (N, M) with N >= 1, and >= 1, got "
            f"{tuple(values.shape)} and {num_resamples}."
        )
    import torch

    rows, counts = values.double().unique(dim=0, return_counts=True)
    shares = counts.double().numpy() / len(values)
    generator = np.random.default_rng(seed % 2**64)
    drawn = generator.multinomial(len(values), shares, size=num_resamples)
    return torch.from_numpy(drawn).double() @ rows / len(values)


def percentile_interval(resampled: Tensor) -> Interval:
    """Return what lies between the outer percentiles of a resampled number.

    Source: Efron and Tibshirani 1993, chapter 13.

    Args:
        resampled: (R,) float64.
    """
    import torch

    outside = (1 - CONFIDENCE) / 2
    low, high = resampled.quantile(torch.tensor([outside, 1 - outside]).double()).tolist()
    return Interval(low, high)


def t_interval(values: Sequence[float]) -> Interval | None:
    """Return where the mean of what the values were drawn from lies; None for less than two.

    By Student's t, for values that differ as if by normal noise.

    >>> t_interval([1.0, 2.0, 3.0])
    Interval(low=-0.484138, high=4.484138)
    """
    if len(values) < 2:
        return None
    from scipy.special import stdtrit

    quantile = float(stdtrit(len(values) - 1, 0.5 + CONFIDENCE / 2))
    half = quantile * stdev(values) / len(values) ** 0.5
    return Interval(round(mean(values) - half, 6), round(mean(values) + half, 6))
