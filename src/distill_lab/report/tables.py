"""Rows of plain values as text, Markdown or CSV, with one way of writing numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Cell = str | float | int | None
Row = Mapping[str, Any]
"""Column name -> `Cell`; a value of another type is shown as its `str`."""

_MISSING = "\N{EN DASH}"


class Link(NamedTuple):
    """A cell that leads to where its value comes from; plain text shows the value alone."""

    text: str
    url: str


def format_value(value: Any) -> str:
    """Write one value for people to read.

    Floats get 4 significant figures, counts a thousands separator, None a dash.

    >>> [format_value(value) for value in (0.98765, 1234567, 20.0, 86000.4, True)]
    ['0.9877', '1,234,567', '20', '86,000', 'yes']
    """
    if value is None:
        return _MISSING
    if isinstance(value, Link):
        return value.text
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        is_long = 1e4 <= abs(value) < 1e9
        return f"{float(f'{value:.4g}'):,.0f}" if is_long else f"{value:.4g}"
    return " ".join(str(value).split())


def column_names(rows: Sequence[Row]) -> list[str]:
    """Return the keys of all rows, each once, in order of first appearance."""
    return list(dict.fromkeys(key for row in rows for key in row))


def is_numeric(rows: Sequence[Row], column: str) -> bool:
    """Whether a column holds numbers only, apart from None; such columns are right-aligned."""
    values = [row.get(column) for row in rows if row.get(column) is not None]
    return bool(values) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in values
    )


def text(rows: Sequence[Row], columns: list[str] | None = None) -> str:
    """Return an aligned plain-text table for the terminal.

    Args:
        rows: may lack keys; a missing value reads as None.
        columns: which keys, in which order; None for all.

    >>> print(text([{"network": "teacher", "accuracy": 0.98}, {"network": "ours", "accuracy": 1}]))
    network  accuracy
    -------  --------
    teacher      0.98
    ours            1
    """
    columns = column_names(rows) if columns is None else columns
    cells = [[format_value(row.get(column)) for column in columns] for row in rows]
    widths = [
        max(len(line[position]) for line in [columns, *cells]) for position in range(len(columns))
    ]
    aligns = [">" if is_numeric(rows, column) else "<" for column in columns]
    lines = [columns, ["-" * width for width in widths], *cells]
    return "\n".join(
        "  ".join(
            f"{cell:{align}{width}}"
            for cell, align, width in zip(line, aligns, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def markdown(rows: Sequence[Row], columns: list[str] | None = None) -> str:
    """Return a Markdown table; arguments as for `text`."""
    columns = column_names(rows) if columns is None else columns
    rules = ["---:" if is_numeric(rows, column) else "---" for column in columns]
    cells = [[_markdown_cell(row.get(column)) for column in columns] for row in rows]
    names = [_escaped(column) for column in columns]
    return "\n".join("| " + " | ".join(line) + " |" for line in (names, rules, *cells))


def csv_text(rows: Sequence[Row]) -> str:
    """Return CSV with a header: numbers in full precision, None as an empty cell."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, column_names(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _markdown_cell(value: Any) -> str:
    text = _escaped(format_value(value))
    return f"[{text}]({value.url})" if isinstance(value, Link) else text


def _escaped(cell: str) -> str:
    return cell.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
