"""`distill-lab compare`: one page for several runs, or for the jobs of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from distill_lab.environment import environment
from distill_lab.errors import RunError
from distill_lab.pages.comparison import Compared, comparison
from distill_lab.report import tables
from distill_lab.report.html import page
from distill_lab.report.tables import Row
from distill_lab.run_report import REPORT, is_told, read_story
from distill_lab.told_apart import right_in
from distill_lab.tracking.run import dotted
from distill_lab.tracking.store import RunSummary, Store

WITHOUT = ("name", "reuse", "evaluation.register_as")
"""Keys that change no number."""


def compare_runs(store: Store, asked: Sequence[str]) -> tuple[str, Path, str]:
    """Write a page on runs as a run of its own.

    Args:
        store: where they are.
        asked: ids of workflows, chains, or of what such runs are below: sweeps, papers. The
            beginning of an id is enough where no other begins so.

    Returns:
        A table for the terminal, where the page lies, and the run's address.

    Raises:
        RunError: a run is not there or not finished, or fewer than two are left.
    """
    records = _expanded(store, asked)
    if len(records) < 2:
        raise RunError(
            f"compare: {len(records)} finished run(s) below {', '.join(asked)}; give two or more."
        )
    names = _names(records)
    runs = [_read(store, name, record) for name, record in zip(names, records, strict=True)]
    told = comparison(runs, _differing(names, [one.story.config for one in runs]))
    table = list(told[0].tables[0])
    tags = {"kind": "comparison", "compared": " ".join(asked), **environment()}
    with store.start(f"compare {len(runs)} runs", tags) as run:
        run.log_text(tables.csv_text([_plain(row) for row in table]), "table.csv")
        run.log_text(page(f"{len(runs)} runs compared", told), REPORT)
        run.set_tags({"mlflow.note.content": tables.markdown(table)})
    shown = [name for name in tables.column_names(table) if name != "run"]
    where = Path(store.folder(run.id, REPORT))
    return tables.text(table, shown), where, store.run_address(run.id)


def _expanded(store: Store, asked: Sequence[str]) -> list[RunSummary]:
    """Return the runs, and in place of one that has no stages those below it that do."""
    found: dict[str, RunSummary] = {}
    for text in asked:
        record = store.resolve(text)
        if is_told(record) and record.status != "FINISHED":
            raise RunError(f"compare: run {record.id} ({record.name}) is {record.status}.")
        inside = [record] if is_told(record) else store.children(record.id)
        found |= {run.id: run for run in inside if is_told(run) and run.status == "FINISHED"}
    return list(found.values())


def _names(records: Sequence[RunSummary]) -> list[str]:
    """Return the runs' names, with the begin of the id where two have one name."""
    given = [record.name for record in records]
    return [
        name if given.count(name) == 1 else f"{name} ({record.id[:8]})"
        for name, record in zip(given, records, strict=True)
    ]


def _read(store: Store, name: str, run: RunSummary) -> Compared:
    story = read_story(store, run)
    key = story.report.validation.compared_by.key
    evaluated = story.origins["6 evaluate"]
    return Compared(
        name,
        story,
        curve=store.history(story.origins["5 train"], f"val/{key}"),
        right=right_in(store, evaluated),
        checksum=store.get(evaluated).tags["data_checksum"],
    )


def _differing(names: Sequence[str], configs: Sequence[str]) -> list[Row]:
    """Return one row per key that is not the same in all runs."""
    flat = [dotted(yaml.safe_load(config)) for config in configs]
    keys = [key for key in dict.fromkeys(key for one in flat for key in one) if key not in WITHOUT]
    return [
        {"key": key, **dict(zip(names, (_said(one.get(key)) for one in flat), strict=True))}
        for key in keys
        if any(one.get(key) != flat[0].get(key) for one in flat)
    ]


def _said(value: Any) -> str:
    return "null" if value is None else str(value)


def _plain(row: Row) -> Row:
    return {key: tables.format_value(v) if key == "run" else v for key, v in row.items()}
