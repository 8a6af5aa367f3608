"""The report as one HTML file that needs nothing else: no script, no server."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from distill_lab.picture import DOTS_PER_INCH, png
from distill_lab.report.tables import Link, Row, column_names, format_value, is_numeric

_WIDE_INCHES = 7.0  # wider figures take a whole row of the page


class Goal(NamedTuple):
    """One card of the verdict: what was measured, against what was asked for."""

    label: str
    value: str
    goal: str
    ok: bool


@dataclass(frozen=True)
class Section:
    """A part of the report; its items are shown in the order of the fields.

    Attributes:
        heading: plain text, like all text here; it is escaped.
        verdict: a row of cards.
        text: paragraphs.
        tables: each a list of rows.
        figures: each drawn, or as the PNG that a stage kept, with its caption; two stand side by
            side where both are narrow.
        code: commands and files, shown as they are.
    """

    heading: str
    verdict: tuple[Goal, ...] = ()
    text: tuple[str, ...] = ()
    tables: tuple[Sequence[Row], ...] = ()
    figures: tuple[tuple[Figure | bytes, str], ...] = ()
    code: tuple[str, ...] = ()


class _Table(NamedTuple):
    header: list[tuple[str, bool]]
    lines: list[list[tuple[str, bool, str]]]


def page(title: str, sections: list[Section]) -> str:
    """Return the report as a complete HTML document.

    Args:
        title: of the page.
        sections: from top to bottom; the verdict belongs into the first.
    """
    environment = Environment(
        loader=PackageLoader("distill_lab", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"table": _table, "png": _png, "is_wide": _is_wide}
    return environment.get_template("template.html").render(title=title, sections=sections)


def _table(rows: Sequence[Row]) -> _Table:
    """Return cells as (text, whether it is a number, where it leads to or "")."""
    header = [(name, is_numeric(rows, name)) for name in column_names(rows)]
    lines = [
        [(format_value(row.get(name)), number, _address(row.get(name))) for name, number in header]
        for row in rows
    ]
    return _Table(header, lines)


def _address(value: Any) -> str:
    return value.url if isinstance(value, Link) else ""


def _png(figure: Figure | bytes) -> str:
    drawn = figure if isinstance(figure, bytes) else png(figure)
    return base64.b64encode(drawn).decode("ascii")


def _is_wide(figure: Figure | bytes) -> bool:
    if isinstance(figure, bytes):
        (pixels,) = struct.unpack(">I", figure[16:20])  # of the header of every PNG
        return bool(pixels / DOTS_PER_INCH > _WIDE_INCHES)
    return bool(figure.get_figwidth() > _WIDE_INCHES)
