"""`paper.yaml`: the numbers of a paper, and how each of them is measured here."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import yaml

from distill_lab.config.groups import EXPERIMENTS, ROOT
from distill_lab.errors import ConfigError, nearest

FILE = "paper.yaml"


@dataclass(frozen=True)
class Scale:
    """How large a reproduction is.

    Attributes:
        kind: what its numbers may claim; "full" alone can be held against the paper's.
        overrides: of every run, after those of the row.
    """

    kind: Literal["full", "reduced", "synthetic", "code-only"]
    overrides: list[str]


@dataclass(frozen=True)
class Row:
    """One number of the paper.

    Attributes:
        name: e.g. "teacher_errors".
        what: it is a number of, for people.
        paper: the number; None where the paper tells a trend without one.
        mark: V where it was read in the paper or its authors' code, M where it is from memory, and
            no target.
        where: in the paper.
        unit: of the number.
        better: which side of it is better.
        tolerance: by how much ours may be worse and is still reached, in the unit.
        overrides: of the runs that measure it.
        metric: of those runs.
        seeds: one run each.
        multiply: the metric by this, to have the unit.
    """

    name: str
    what: str
    paper: float | None
    mark: Literal["V", "M"]
    where: str
    unit: str
    better: Literal["lower", "higher"]
    tolerance: float
    overrides: list[str]
    metric: str
    seeds: list[int]
    multiply: float = 1.0

    def job(self, scale: Scale, seed: int) -> tuple[str, ...]:
        """Return the overrides of one run."""
        return (*self.overrides, *scale.overrides, f"seed={seed}")


@dataclass(frozen=True)
class Paper:
    """A paper.

    Attributes:
        folder: with its `paper.yaml`, experiments and results.
        title: of the paper.
        source: authors, year, identifier.
        scales: name -> how large.
        rows: its numbers.
    """

    folder: Path
    title: str
    source: str
    scales: dict[str, Scale]
    rows: list[Row]

    @property
    def name(self) -> str:
        """The folder's."""
        return self.folder.name


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
        rows = [_made(Row, node, f"{where}: {_title(node)}", found) for node in paper.rows]
        found += _problems(where, rows) if not found else []
    if paper is None or found:
        raise ConfigError(found)
    return Paper(folder, paper.title, paper.source, scales, rows)


def _title(node: Any) -> str:
    return f"row {node.get('name', '?')}" if isinstance(node, dict) else f"row {node!r}"


def _made(kind: Any, node: Any, where: str, found: list[str]) -> Any:
    """Make a dataclass of a mapping; what is wrong with the mapping is added to `found`."""
    known = [field.name for field in fields(kind)]
    needed = [field.name for field in fields(kind) if field.default is MISSING]
    if not isinstance(node, dict):
        found.append(f"{where}: must be a mapping with {', '.join(needed)}, got {node!r}.")
        return None
    wrong = [f"{where}: there is no key {k!r}.{nearest(k, known)}" for k in node if k not in known]
    wrong += [f"{where}: {key} is missing." for key in needed if key not in node]
    found += wrong
    return None if wrong else kind(**node)


def _problems(where: str, rows: list[Row]) -> list[str]:
    found = [] if rows else [f"{where}: rows must list at least one."]
    for row in rows:
        about = f"{where}: row {row.name}"
        if row.mark not in ("V", "M"):
            found.append(f"{about}: mark must be V or M, got {row.mark!r}.")
        if row.better not in ("lower", "higher"):
            found.append(f"{about}: better must be lower or higher, got {row.better!r}.")
        if not row.seeds:
            found.append(f"{about}: seeds must name at least one.")
        for key in ("paper", "tolerance", "multiply"):
            value = getattr(row, key)
            if key == "paper" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                found.append(f"{about}: {key} must be a number, got {value!r}.")
    names = [row.name for row in rows]
    found += [f"{where}: two rows are named {n}." for n in set(names) if names.count(n) > 1]
    return found
