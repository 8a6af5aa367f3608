"""The table paper | ours | verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from distill_lab.papers.paper import Row, papers, read_paper
from distill_lab.papers.results import Measured, Results, measured, path_of, read
from distill_lab.report import tables
from distill_lab.report.tables import Link

Line = dict[str, tables.Cell | Link]
CODE_ONLY = "code-only"
"""Kind of a scale whose values say nothing: beside the paper's they would be read as ours."""


def board(
    rows: Sequence[Row], results: Results, address: Callable[[str], str] | None = None
) -> list[Line]:
    """Return one line per number of a paper.

    Args:
        rows: the numbers.
        results: ours.
        address: of a run in the MLflow UI; None: without a link to each value's run.
    """
    found = {row.name: row for row in results.rows}
    lines: list[Line] = []
    for row in rows:
        ours = found.get(row.name)
        line: Line = {
            "row": row.name,
            "what": row.what,
            "unit": row.unit,
            "paper": tables.format_value(row.paper) + " (from memory)" * (row.mark == "M"),
            "ours": "" if ours is None else spread(ours),
            "verdict": "not run" if ours is None else judged(row, ours),
            "scale": "" if ours is None else ours.scale,
        }
        if address is not None and ours is not None:
            seeds = zip(ours.seeds, ours.ours, ours.runs, strict=True)
            line |= {
                f"seed {seed}": Link(tables.format_value(value), address(run))
                for seed, value, run in seeds
            }
        lines.append(line)
    return lines


def judged(row: Row, ours: Measured) -> str:
    """Hold what was measured against the number that the paper's file has now."""
    return measured(row, ours.scale, ours.ours, ours.runs).verdict


def spread(ours: Measured) -> str:
    """Write mean and standard deviation, and over how many seeds.

    Of a claim, the interval of the difference. Of a run on noise, that it ran.

    >>> spread(Measured("a", 1, "V", [1.0, 2.0], 1.5, 0.7071, "", "", "full", []))
    '1.5 ± 0.7071 (2)'
    >>> spread(Measured("a", 1, "V", [0.1], 0.1, None, "", "", "code-only", []))
    'it ran'
    """
    if ours.mean is None:
        return tables.format_value(None)
    if ours.scale == CODE_ONLY:
        return "it ran"
    if ours.std is None:
        return tables.format_value(ours.mean)
    if ours.interval is not None:
        mean, low, high = (tables.format_value(value) for value in (ours.mean, *ours.interval))
        return f"{mean}, {low} to {high} ({len(ours.ours)})"
    mean, std = (tables.format_value(value) for value in (ours.mean, ours.std))
    return f"{mean} ± {std} ({len(ours.ours)})"


def all_papers() -> str:
    """Return the table of every paper, from the results that lie beside it."""
    texts = []
    for name in papers():
        paper = read_paper(name)
        for scale in paper.scales:
            path = path_of(paper, scale)
            if path.is_file():
                found = read(path)
                commits = {row.name: row.commit[:8] for row in found.rows}
                rows = [row for row in paper.rows if row.name in commits]
                lines = [
                    {k: v for k, v in line.items() if k != "what"} | {"commit": commits[row.name]}
                    for row, line in zip(rows, board(rows, found), strict=True)
                ]
                head = f"{name}: {paper.title}\n{found.command}"
                left = len(paper.rows) - len(rows)
                tail = f"\n\n{left} of {len(paper.rows)} rows were not run." if left else ""
                texts.append(f"{head}\n\n{tables.text(lines)}{tail}")
    return "\n\n\n".join(texts) or "No paper was reproduced yet: distill-lab reproduce PAPER."
