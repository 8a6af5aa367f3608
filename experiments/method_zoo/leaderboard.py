"""From single runs to the leaderboard: chosen weights, means, differences paired by seed."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

KD = {"pair": "kd", "tokens": "kd_tokens", "deit": "kd_deit"}
"""Experiment -> the method that is plain KD in it."""
MARGIN = 0.005  # of accuracy; a standard error near 0.84 on 3000 images is 0.0067


@dataclass(frozen=True)
class Run:
    """One trained student; accuracies and agreement in [0, 1], of the test split if not said.

    `weight` is `multiplier` times the one in the yaml of the term that is tuned.
    """

    method: str
    experiment: str
    loss: str
    multiplier: float
    weight: float
    seed: int
    validation: float | None = None
    test: float | None = None
    control: float | None = None
    teacher: float | None = None
    agreement: float | None = None
    seconds_per_epoch: float | None = None
    error: str = ""


@dataclass(frozen=True)
class Row:
    """One method: means over seeds, standard deviations, differences paired by seed.

    `seconds_per_epoch` is the median over all runs of the method, whatever their weight: the first
    of them may have filled a cache.
    """

    method: str
    experiment: str
    loss: str
    weight: float
    seeds: int
    test: float
    test_std: float
    over_control: float
    over_control_std: float
    over_kd: float
    over_kd_std: float
    agreement: float
    control: float
    teacher: float
    seconds_per_epoch: float
    failed: int


def chosen_multiplier(runs: Sequence[Run]) -> float | None:
    """Return 1, the published weight, unless another is better on validation by `MARGIN`.

    Args:
        runs: of one seed, one per multiplier. None is returned where all failed.
    """
    done = {run.multiplier: run.validation or 0.0 for run in runs if not run.error}
    if not done:
        return None
    best = max(done, key=lambda multiplier: done[multiplier])
    gain = round(
        done[best] - done.get(1.0, 0.0), 6
    )  # a tie of whole images is one, whatever rounds
    return 1.0 if gain <= MARGIN else best


def leaderboard(runs: Sequence[Run]) -> list[Row]:
    """Return the rows, those of an experiment together, the largest gain over the control first.

    A method of which no weight could be trained has no row, nor has one before plain KD has its.
    """
    by_method: dict[str, list[Run]] = {}
    for run in runs:
        by_method.setdefault(run.method, []).append(run)
    chosen = {name: _at_chosen_weight(those) for name, those in by_method.items()}
    rows = []
    for name, those in by_method.items():
        kd = chosen.get(KD[those[0].experiment], {})
        both = sorted(chosen[name].keys() & kd.keys())
        if len(both) > 1:
            rows.append(_row(those, chosen[name], kd, both))
    return sorted(rows, key=lambda row: (row.experiment, -row.over_control))


def _at_chosen_weight(runs: Sequence[Run]) -> dict[int, Run]:
    """Return the sound runs at the chosen weight by seed."""
    first = min(run.seed for run in runs)
    best = chosen_multiplier([run for run in runs if run.seed == first])
    return {run.seed: run for run in runs if run.multiplier == best and not run.error}


def _row(runs: list[Run], own: dict[int, Run], kd: dict[int, Run], seeds: list[int]) -> Row:
    ours = [own[seed] for seed in seeds]
    test = [run.test or 0.0 for run in ours]
    control = [run.control or 0.0 for run in ours]
    gains = [a - b for a, b in zip(test, control, strict=True)]
    over_kd = [a - (kd[seed].test or 0.0) for a, seed in zip(test, seeds, strict=True)]
    about = ours[0]
    return Row(
        about.method,
        about.experiment,
        about.loss,
        about.weight,
        len(seeds),
        mean(test),
        stdev(test),
        mean(gains),
        stdev(gains),
        mean(over_kd),
        stdev(over_kd),
        mean(run.agreement or 0.0 for run in ours),
        mean(control),
        mean(run.teacher or 0.0 for run in ours),
        median(run.seconds_per_epoch for run in runs if run.seconds_per_epoch is not None),
        sum(bool(run.error) for run in runs),
    )


def read_runs(path: Path) -> list[Run]:
    """Return the runs of a file that `write` made; none if there is no such file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [Run(**_values(row)) for row in csv.DictReader(file)]


def _values(row: dict[str, str]) -> dict[str, Any]:
    kinds: dict[str, Callable[[str], Any]] = {
        "int": int,
        "float": float,
        "float | None": lambda text: float(text) if text else None,
        "str": str,
    }
    return {field.name: kinds[str(field.type)](row[field.name]) for field in fields(Run)}


def write(path: Path, rows: Iterable[Run | Row]) -> None:
    """Write rows of one kind as CSV, numbers with six digits."""
    lines = [
        {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in asdict(r).items()} for r in rows
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]) if lines else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
