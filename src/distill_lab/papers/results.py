"""What was measured of a paper: `results.json` beside its `paper.yaml`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from filelock import FileLock

from distill_lab.errors import RunError
from distill_lab.measure.intervals import t_interval
from distill_lab.papers.paper import Paper, Row

REACHED, MISSED, NO_TARGET, NOT_RUN = "reached", "missed", "no target", "not run"
NO_CLAIM = "no claim"
"""What is not measured at full scale says nothing about the paper's number."""
CONFIRMED, NOT_CONFIRMED, INCONCLUSIVE = "confirmed", "not confirmed", "inconclusive"
"""A claim, whose interval lies on the claimed side of zero, on the other, or on both."""


@dataclass(frozen=True)
class Measured:
    """One number of a paper beside ours.

    Attributes:
        ours: one value a seed, in the unit of the row; of a claim one difference a seed.
        std: of `ours`; None for a single seed.
        verdict: reached | missed | no target | no claim | not run, of a claim confirmed | not
            confirmed | inconclusive | no claim | not run.
        scale: kind of the runs, see `paper.Scale`.
        runs: MLflow run of each value; of a claim the first of its two.
        seeds: of each value; one whose run failed is missing.
        error: why a run could not be finished.
        interval: of the mean of a claim, where the difference lies, see `t_interval`.
        minus_runs: MLflow runs of what was taken off.
        commit: of the code that measured it.
    """

    name: str
    paper: float | None
    mark: str
    ours: list[float]
    mean: float | None
    std: float | None
    unit: str
    verdict: str
    scale: str
    runs: list[str]
    error: str = ""
    interval: tuple[float, float] | None = None
    minus_runs: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    commit: str = ""


@dataclass(frozen=True)
class Results:
    """All of them, and what they were made with."""

    command: str
    commit: str
    versions: dict[str, str]
    rows: list[Measured]


def measured(row: Row, scale: str, ours: list[float], runs: list[str], **more: Any) -> Measured:
    """Hold the values of a row against the paper's, or against zero.

    Args:
        row: what was measured.
        scale: kind of the runs.
        ours: one value a seed.
        runs: of each.
        more: further attributes of `Measured`.
    """
    average = mean(ours) if ours else None
    spread = stdev(ours) if len(ours) > 1 else None
    where = interval(ours) if row.is_claim else None
    verdict = _side(row, where, scale) if row.is_claim else judge(row, average, scale)
    if not ours:
        verdict = NOT_RUN
    about = (row.name, row.paper, row.mark, ours, average, spread, row.unit, verdict, scale, runs)
    return Measured(*about, interval=where, **more)


def judge(row: Row, average: float | None, scale: str) -> str:
    """Tell whether the mean over seeds is at least as good as the paper's, within the tolerance."""
    if average is None:
        return NOT_RUN
    if row.mark == "M" or row.paper is None:
        return NO_TARGET
    if scale != "full":
        return NO_CLAIM
    worse = average - row.paper if row.better == "lower" else row.paper - average
    return REACHED if worse <= row.tolerance else MISSED


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return where the mean of what the values were drawn from lies; None for less than two.

    >>> interval([1.0, 2.0, 3.0])
    (-0.484138, 4.484138)
    """
    found = t_interval(values)
    return None if found is None else (found.low, found.high)


def _side(row: Row, where: tuple[float, float] | None, scale: str) -> str:
    if scale == "code-only":
        return NO_CLAIM
    low, high = where or (0.0, 0.0)
    if low > 0 or high < 0:
        return CONFIRMED if (low > 0) == (row.better == "higher") else NOT_CONFIRMED
    return INCONCLUSIVE


def path_of(paper: Paper, scale: str) -> Path:
    """Return where results lie: those of a smaller scale never replace the full ones."""
    return paper.folder / ("results.json" if scale == "full" else f"results.{scale}.json")


def read(path: Path) -> Results:
    """Read what `keep` wrote.

    Raises:
        RunError: it is not that.
    """
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        rows = [
            Measured(**row | {"interval": row["interval"] and tuple(row["interval"])})
            for row in given.pop("rows")
        ]
        return Results(**given, rows=rows)
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path} cannot be read ({type(error).__name__}: {error}). Put it back as it was "
            "committed, or delete it to measure anew."
        ) from error


def keep(path: Path, paper: Paper, new: Results) -> None:
    """Write results as JSON for people to read in a diff, whole or not at all.

    Rows of other numbers that lie there stay, in the order of the paper.
    """
    with FileLock(path.with_suffix(".lock")):
        old = read(path).rows if path.is_file() else []
        found = {row.name: row for row in (*old, *new.rows)}
        rows = [found[row.name] for row in paper.rows if row.name in found]
        text = json.dumps(asdict(replace(new, rows=rows)), indent=1) + "\n"
        part = path.with_suffix(".part")
        part.write_text(text, encoding="utf-8")
        part.replace(path)
