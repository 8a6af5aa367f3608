"""What was measured of a paper: `results.json` beside its `paper.yaml`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev

from distill_lab.papers.paper import Paper, Row

REACHED, MISSED, NO_TARGET, NOT_RUN = "reached", "missed", "no target", "not run"
NO_CLAIM = "no claim"
"""What is not measured at full scale says nothing about the paper's number."""


@dataclass(frozen=True)
class Measured:
    """One number of a paper beside ours.

    Attributes:
        ours: one value a seed, in the unit of the row.
        std: of `ours`; None for a single seed.
        verdict: reached | missed | no target | no claim | not run.
        scale: kind of the runs, see `paper.Scale`.
        runs: MLflow run of each value.
        error: why a run could not be finished.
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


@dataclass(frozen=True)
class Results:
    """All of them, and what they were made with."""

    command: str
    commit: str
    versions: dict[str, str]
    rows: list[Measured]


def measured(row: Row, scale: str, ours: list[float], runs: list[str], error: str = "") -> Measured:
    """Hold the values of a row against the paper's."""
    average = mean(ours) if ours else None
    spread = stdev(ours) if len(ours) > 1 else None
    verdict = judge(row, average, scale)
    about = (row.name, row.paper, row.mark)
    return Measured(*about, ours, average, spread, row.unit, verdict, scale, runs, error)


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


def path_of(paper: Paper, scale: str) -> Path:
    """Return where results lie: those of a smaller scale never replace the full ones."""
    return paper.folder / ("results.json" if scale == "full" else f"results.{scale}.json")


def write(path: Path, results: Results) -> None:
    """Write results as JSON for people to read in a diff."""
    path.write_text(json.dumps(asdict(results), indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> Results:
    """Read what `write` wrote."""
    given = json.loads(path.read_text(encoding="utf-8"))
    rows = [Measured(**row) for row in given.pop("rows")]
    return Results(**given, rows=rows)
