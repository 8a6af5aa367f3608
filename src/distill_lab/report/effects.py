"""What a sweep says: the effect of each swept key, and the spread over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

from distill_lab.report.tables import Row, format_value

Effect = tuple[str, float, float | None, int]
"""Text of a value, then mean, standard deviation (None for one run) and number of runs with it."""


def main_effects(rows: Sequence[Row], keys: list[str], metric: str) -> dict[str, list[Effect]]:
    """Average a metric over all runs that share one value of one key, for each key by itself.

    It is the marginal mean of a sweep: fair where the sweep is a full grid, and silent about
    interactions of keys.

    Args:
        rows: one per run; a row without the metric (a failed run) is left out.
        keys: the swept keys.
        metric: the key of the metric.

    Returns:
        key -> one effect per value, by size where all values are numbers, else in order of
        appearance.
    """
    done = [row for row in rows if row.get(metric) is not None]
    effects: dict[str, list[Effect]] = {}
    for key in keys:
        effects[key] = [
            (format_value(group[0].get(key)), *_spread(group, metric))
            for group in _ordered(_grouped(done, [key]), key)
        ]
    return effects


def seed_spread(
    rows: Sequence[Row], keys_without_seed: list[str], metric: str
) -> list[dict[str, Any]]:
    """Join the runs that differ in their seed only.

    Args:
        rows: one per run; a row without the metric is left out.
        keys_without_seed: the swept keys but the seed.
        metric: the key of the metric.

    Returns:
        One row per setting, in order of appearance: its keys, then `mean`, `std` (of the sample,
        n - 1 in the denominator; None for one run) and `n`.
    """
    done = [row for row in rows if row.get(metric) is not None]
    joined: list[dict[str, Any]] = []
    for group in _grouped(done, keys_without_seed):
        mean, std, count = _spread(group, metric)
        setting = {key: group[0].get(key) for key in keys_without_seed}
        joined.append({**setting, "mean": mean, "std": std, "n": count})
    return joined


def _grouped(rows: Sequence[Row], keys: list[str]) -> list[list[Row]]:
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(str(row.get(key)) for key in keys), []).append(row)
    return list(groups.values())


def _spread(group: list[Row], metric: str) -> tuple[float, float | None, int]:
    values: list[Any] = [row[metric] for row in group]
    return fmean(values), stdev(values) if len(values) > 1 else None, len(values)


def _ordered(groups: list[list[Row]], key: str) -> list[list[Row]]:
    values: list[Any] = [group[0].get(key) for group in groups]
    if not all(isinstance(value, int | float) for value in values):
        return groups
    return [
        group for _, group in sorted(zip(values, groups, strict=True), key=lambda pair: pair[0])
    ]
