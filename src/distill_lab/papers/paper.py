"""`paper.yaml`: the numbers of a paper, and how each of them is measured here."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from distill_lab.config.groups import EXPERIMENTS, ROOT
from distill_lab.errors import ConfigError, nearest
from distill_lab.papers.grid import Grid, no_lists, rows_of
from distill_lab.papers.grid import problems as grid_problems

FILE = "paper.yaml"
Kind = Literal["full", "reduced", "synthetic", "code-only"]
KINDS = get_args(Kind)
Job = tuple[str, ...]
"""Overrides of one run."""


@dataclass(frozen=True)
class Scale:
    """How large a reproduction is.

    Attributes:
        kind: what its numbers may claim; "full" alone can be held against the paper's.
        overrides: of every run, after those of the row.
        num_seeds: of a row that are run, its first; None: all.
    """

    kind: Kind
    overrides: list[str]
    num_seeds: int | None = None


@dataclass(frozen=True)
class Row:
    """One number of the paper, or a claim: a difference between two measurements.

    Attributes:
        name: e.g. "teacher_errors".
        what: it is a number of, for people.
        paper: the number; None where the paper tells a trend without one.
        mark: V where it was read in the paper or its authors' code, M where it is from memory, and
            no target.
        where: in the paper.
        unit: of the number.
        better: which side of it is better; of a claim, of zero.
        overrides: of the runs that measure it.
        metric: of those runs.
        seeds: one run each.
        tolerance: by how much ours may be worse and is still reached, in the unit.
        multiply: the metric by this, to have the unit.
        minus: overrides of the runs whose metric is taken off, seed by seed; None: the same runs,
            or nothing.
        minus_metric: which metric of theirs; None: the same, or nothing.
    """

    name: str
    what: str
    paper: float | None
    mark: Literal["V", "M"]
    where: str
    unit: str
    better: Literal["lower", "higher"]
    overrides: list[str]
    metric: str
    seeds: list[int]
    tolerance: float = 0.0
    multiply: float = 1.0
    minus: list[str] | None = None
    minus_metric: str | None = None

    @property
    def is_claim(self) -> bool:
        """Whether it is a difference, of which the paper says on which side of zero it is."""
        return self.minus is not None or self.minus_metric is not None

    def at(self, scale: Scale) -> Row:
        """Return the row with the seeds that it has at a scale."""
        return replace(self, seeds=self.seeds[: scale.num_seeds])

    def job(self, scale: Scale, seed: int) -> Job:
        """Return the overrides of one run."""
        return (*self.overrides, *scale.overrides, f"seed={seed}")

    def sources(self, scale: Scale, seed: int) -> list[tuple[Job, str]]:
        """Return the runs that its value is read from, and which metric of each.

        Two where one is taken off the other.
        """
        first = (self.job(scale, seed), self.metric)
        if not self.is_claim:
            return [first]
        other = self.overrides if self.minus is None else self.minus
        job = (*other, *scale.overrides, f"seed={seed}")
        return [first, (job, self.minus_metric or self.metric)]


@dataclass(frozen=True)
class Paper:
    """A paper.

    Attributes:
        folder: with its `paper.yaml`, experiments and results.
        title: of the paper.
        source: authors, year, identifier.
        scales: name -> how large.
        rows: its numbers, those of its grids after the others.
    """

    folder: Path
    title: str
    source: str
    scales: dict[str, Scale]
    rows: list[Row] = field(default_factory=list)
    grids: list[Grid] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The folder's."""
        return self.folder.name

    def named(self, pattern: str) -> list[Row]:
        """Return the rows with such a name, `*` standing for any part of it."""
        return [row for row in self.rows if fnmatchcase(row.name, pattern)]


def papers() -> dict[str, Path]:
    """Return the folders that hold a `paper.yaml`, here and in the project, by name."""
    roots = (ROOT / EXPERIMENTS, Path.cwd() / EXPERIMENTS)
    found = {path.parent.name: path.parent for root in roots for path in root.glob(f"*/{FILE}")}
    return dict(sorted(found.items()))


def read_paper(name: str) -> Paper:
    """Read a paper by the name of its folder.

    Raises:
        ConfigError: there is no such paper, or its file lists a key or value that is wrong.
    """
    known = papers()
    if name not in known:
        listed = ", ".join(known) or "none; see docs/reproduce.md"
        raise ConfigError([f"there is no paper {name!r}.{nearest(name, known)} Papers: {listed}."])
    folder = known[name]
    try:
        given = yaml.safe_load((folder / FILE).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError([f"{name}/{FILE}: {' '.join(str(error).split())}"]) from error
    found: list[str] = []
    where = f"{name}/{FILE}"
    given = {"folder": folder, **given} if isinstance(given, dict) else {}
    paper: Paper | None = _made(Paper, given, where, found)
    if paper is not None:
        scales = {
            key: _made(Scale, node, f"{where}: scales.{key}", found)
            for key, node in paper.scales.items()
        }
        for key, scale in scales.items():
            found += _scale_problems(scale, f"{where}: scales.{key}") if scale else []
        grids = [
            _made(Grid, node, f"{where}: grid {number}", found)
            for number, node in enumerate(paper.grids)
        ]
        for number, grid in enumerate(grids if not found else []):
            found += grid_problems(grid, f"{where}: grid {number}")
        nodes = [*paper.rows, *(row for grid in grids if not found for row in rows_of(grid))]
        rows = [_made(Row, node, f"{where}: {_title(node)}", found) for node in nodes]
        found += _problems(where, rows) if not found else []
    if paper is None or found:
        raise ConfigError(found)
    return Paper(folder, paper.title, paper.source, scales, rows, grids)


def _title(node: Any) -> str:
    return f"row {node.get('name', '?')}" if isinstance(node, dict) else f"row {node!r}"


def _made(kind: Any, node: Any, where: str, found: list[str]) -> Any:
    """Make a dataclass of a mapping; what is wrong with the mapping is added to `found`."""
    known = [f.name for f in fields(kind)]
    needed = [f.name for f in fields(kind) if f.default is f.default_factory is MISSING]
    if not isinstance(node, dict):
        found.append(f"{where}: must be a mapping with {', '.join(needed)}, got {node!r}.")
        return None
    wrong = [f"{where}: there is no key {k!r}.{nearest(k, known)}" for k in node if k not in known]
    wrong += [f"{where}: {key} is missing." for key in needed if key not in node]
    found += wrong
    return None if wrong else kind(**node)


def _scale_problems(scale: Scale, where: str) -> list[str]:
    found = no_lists({"overrides": scale.overrides}, where)
    if scale.kind not in KINDS:
        found.append(f"{where}: kind must be {', '.join(KINDS)}, got {scale.kind!r}.")
    number = scale.num_seeds
    if number is not None and (type(number) is not int or number < 1):
        found.append(f"{where}: num_seeds must be a whole number >= 1 or null, got {number!r}.")
    return found


def _problems(where: str, rows: list[Row]) -> list[str]:
    found = [] if rows else [f"{where}: rows must list at least one."]
    for row in rows:
        about = f"{where}: row {row.name}"
        if row.mark not in ("V", "M"):
            found.append(f"{about}: mark must be V or M, got {row.mark!r}.")
        if row.better not in ("lower", "higher"):
            found.append(f"{about}: better must be lower or higher, got {row.better!r}.")
        found += no_lists({"overrides": row.overrides, "minus": row.minus or []}, about)
        if len(row.seeds) < 1 + row.is_claim:
            found.append(f"{about}: seeds must name at least {'two' if row.is_claim else 'one'}.")
        for key in ("paper", "tolerance", "multiply"):
            value = getattr(row, key)
            if key == "paper" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                found.append(f"{about}: {key} must be a number, got {value!r}.")
    names = [row.name for row in rows]
    found += [f"{where}: two rows are named {n}." for n in set(names) if names.count(n) > 1]
    return found
