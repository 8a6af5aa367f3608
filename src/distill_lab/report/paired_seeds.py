"""Whether one setting of a sweep is better than the others, seed by seed."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from distill_lab.measure.intervals import t_interval
from distill_lab.measure.paired import paired_t
from distill_lab.report.tables import Cell, Row


def against_others(
    rows: Sequence[Row], keys: Sequence[str], best: Row, metric: str
) -> list[dict[str, Cell]]:
    """Compare a setting with each other one on the seeds that both have.

    Runs of one seed share their data order and first weights, so their difference varies less than
    each of them. The interval is Student's, of 95 %, and p that of the paired t-test; neither is
    adjusted for the number of comparisons.

    Args:
        rows: one per run; a row without the metric is left out.
        keys: the swept keys but the seed.
        best: a run of the setting that is compared.
        metric: the key of the metric.

    Returns:
        One row per other setting that shares at least two seeds, in order of appearance: its keys,
        `seeds`, `best minus this` (the mean), `low`, `high` and `p` (these None where all
        differences are the same).
    """
    by_setting: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in rows:
        if row.get(metric) is not None:
            setting = tuple(str(row.get(key)) for key in keys)
            by_setting.setdefault(setting, {})[str(row["seed"])] = row
    ours = by_setting.pop(tuple(str(best.get(key)) for key in keys), {})
    found = []
    for others in by_setting.values():
        shared = [seed for seed in ours if seed in others]
        differences = [ours[seed][metric] - others[seed][metric] for seed in shared]
        where, p = t_interval(differences), paired_t(differences)
        if where is None:
            continue
        setting_keys: dict[str, Cell] = {key: others[shared[0]].get(key) for key in keys}
        found.append(
            {
                **setting_keys,
                "seeds": len(shared),
                "best minus this": fmean(differences),
                "low": where.low if p is not None else None,
                "high": where.high if p is not None else None,
                "p": p,
            }
        )
    return found
