"""Numbers that a paper prints as a grid, e.g. pairs of networks across and methods down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distill_lab.errors import nearest

if TYPE_CHECKING:
    from distill_lab.papers.paper import Row

OWN = ("paper", "overrides", "overrides_in")


@dataclass(frozen=True)
class Grid:
    """A table of a paper; each of its numbers is a row that is named `column/line`.

    Attributes:
        columns: name -> overrides of the column's numbers.
        shared: what every row has, as rows outside of a grid; its overrides come first.
        lines: name -> what the line's rows have: `paper`, a number per column, null where the paper
            has none and no row is wanted, left out where it has none for any; `overrides`, after
            the column's; `overrides_in`, column -> more of them; and whatever is not as in
            `shared`.
    """

    columns: dict[str, list[str]]
    shared: dict[str, Any]
    lines: dict[str, dict[str, Any]]


def problems(grid: Grid, where: str) -> list[str]:
    """Return what keeps a grid from being cut into rows."""
    for key in ("columns", "shared", "lines"):
        value = getattr(grid, key)
        if not isinstance(value, dict) or not value:
            return [f"{where}: {key} must be a mapping, got {value!r}."]
    lists = {"shared.overrides": grid.shared.get("overrides", [])}
    lists |= {f"columns.{name}": across for name, across in grid.columns.items()}
    found = []
    for name, line in grid.lines.items():
        numbers = _numbers(grid, line) if isinstance(line, dict) else None
        if not isinstance(numbers, list) or len(numbers) != len(grid.columns):
            given = len(numbers) if isinstance(numbers, list) else repr(numbers)
            found.append(
                f"{where}: {name}.paper must list a number or null for each of the "
                f"{len(grid.columns)} columns, got {given}."
            )
            continue
        within = line.get("overrides_in", {})
        if not isinstance(within, dict):
            found.append(f"{where}: {name}.overrides_in must be a mapping, got {within!r}.")
            continue
        lists[f"{name}.overrides"] = line.get("overrides", [])
        lists |= {f"{name}.overrides_in.{column}": value for column, value in within.items()}
        found += [
            f"{where}: {name}.overrides_in: there is no column {column!r}."
            f"{nearest(column, grid.columns)}"
            for column in within
            if column not in grid.columns
        ]
    return found + no_lists(lists, where)


def no_lists(given: dict[str, Any], where: str) -> list[str]:
    """Return a problem for each value that is no list of overrides."""
    return [
        f"{where}: {key} must be a list of overrides such as [seed=1], got {value!r}."
        for key, value in given.items()
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value)
    ]


def _numbers(grid: Grid, line: dict[str, Any]) -> Any:
    """Return the paper's number in every column, null where it has none."""
    return line.get("paper", [None] * len(grid.columns))


def rows_of(grid: Grid) -> list[dict[str, Any]]:
    """Return a mapping per number, as rows are written outside of a grid."""
    rows = []
    for name, line in grid.lines.items():
        plain = {key: value for key, value in line.items() if key not in OWN}
        numbers = _numbers(grid, line)
        for (column, across), number in zip(grid.columns.items(), numbers, strict=True):
            if number is None and "paper" in line:
                continue
            overrides = [
                *grid.shared.get("overrides", []),
                *across,
                *line.get("overrides", []),
                *line.get("overrides_in", {}).get(column, []),
            ]
            own = {"name": f"{column}/{name}", "paper": number, "overrides": overrides}
            rows.append(grid.shared | plain | own)
    return rows


def each_line_and_column(rows: Sequence[Row]) -> list[Row]:
    """Return rows among which every line and every column of a grid is, and all rows of none."""
    kept: list[Row] = []
    seen: set[tuple[str, str]] = set()
    for row in rows:
        column, in_grid, line = row.name.rpartition("/")
        parts = {("column", column), ("line", line)} if in_grid else set()
        if not in_grid or not parts <= seen:
            kept.append(row)
        seen |= parts
    return kept
