"""The report of a finished run, made of what the store has of it; so it can be made again."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from matplotlib.figure import Figure

from distill_lab.environment import environment
from distill_lab.errors import RunError
from distill_lab.pages import refinement
from distill_lab.pages.page import sections, title
from distill_lab.pages.story import Story
from distill_lab.plan import STAGES
from distill_lab.report.html import Section, page
from distill_lab.report.tables import Row
from distill_lab.settings import Price
from distill_lab.stages.handoffs import HANDOFF, from_plain
from distill_lab.stages.lineage import LINEAGE, Lineage
from distill_lab.stages.report_handoff import Report
from distill_lab.tracking.run import TrackedRun
from distill_lab.tracking.store import RunSummary, Store

WORKFLOW, CHAIN = "workflow", "chain"
REPORT, CONFIG, PASSES = "report.html", "config.yaml", "chain.csv"
COMMAND = "command"
"""Tag of a workflow's run: what it was started by."""
PICTURES: dict[str, tuple[str, ...]] = {
    "1 teacher": ("curves.png",),
    "2 knowledge": ("softness.png", "cka.png"),
    "3 student": ("pareto.png",),
    "5 control": ("training_loss.png", "validation.png"),
    "5 train": ("training_loss.png", "validation.png"),
}
TABLES: dict[str, tuple[str, ...]] = {
    "1 teacher": ("leaderboard.csv",),
    "3 student": ("candidates.csv",),
}


def log_config(run: TrackedRun, config: dict[str, Any]) -> None:
    """Keep the resolved config whole; in the params of a run MLflow cuts long values."""
    run.log_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), CONFIG)


def report_of(store: Store, run_id: str) -> Path:
    """Write the report of a workflow or a chain as artifacts of its run; return where it lies.

    Raises:
        RunError: there is no such run, it is of another kind, or it has not gone through all
            stages.
    """
    record = store.get(run_id)
    story, more = read_story(store, record), []
    if record.tags["kind"] == CHAIN:
        rows = _rows(store.read_text(run_id, PASSES))
        more = [Section("Passes", text=("The page is of the last.",), tables=(rows,))]
    if store.look_for(run_id, LINEAGE) is not None:
        more += refinement.sections(from_plain(Lineage, store.read_json(run_id, LINEAGE)))
    told, run = sections(story, more), store.open(run_id)
    for section in told:
        for number, (figure, _) in enumerate(section.figures):
            if isinstance(figure, Figure):
                name = re.sub(r"\W+", "_", section.heading.lower())
                run.log_figure(figure, f"figures/{name}_{number + 1}.png")
    run.log_text(page(title(story), told), REPORT)
    return Path(store.folder(run_id, REPORT))


def priced(report: Report, price: Price) -> Report:
    """Return a report at a price list of now; that of the stage may have been another."""
    running = report.running
    return report if running is None else replace(report, running=replace(running, price=price))


def read_story(store: Store, run: RunSummary) -> Story:
    """Read a workflow whose stages are all done, or the last of a chain.

    Raises:
        RunError: a stage is not finished, or what it kept is lost.
    """
    done = _finished_stages(store, _workflow(store, run))
    handoffs: dict[str, Any] = {
        stage.name: from_plain(stage.handoff, store.read_json(done[stage.name].id, HANDOFF))
        for stage in STAGES
    }
    config = store.read_text(run.id, CONFIG)
    price = {key: v for key, v in yaml.safe_load(config)["price"].items() if key != "_target_"}
    origins = {name: _origin(run) for name, run in done.items()}
    return Story(
        run_id=run.id,
        name=run.name,
        config=config,
        command=run.tags.get(COMMAND, ""),
        environment={key: run.tags[key] for key in environment() if key in run.tags},
        origins=origins,
        teacher=handoffs["1 teacher"],
        knowledge=handoffs["2 knowledge"],
        design=handoffs["3 student"],
        loss=handoffs["4 loss"],
        control=handoffs["5 control"],
        student=handoffs["5 train"],
        report=priced(handoffs["6 evaluate"], Price(**price)),
        pictures={key: path.read_bytes() for key, path in _kept(store, origins, PICTURES)},
        tables={
            key: _rows(path.read_text(encoding="utf-8"))
            for key, path in _kept(store, origins, TABLES)
        },
        address=store.run_address,
    )


def evaluated_in(store: Store, run: RunSummary) -> str:
    """Return the run that did the work of stage 6 for a workflow, or for the last of a chain.

    Raises:
        RunError: a stage is not finished.
    """
    return _origin(_finished_stages(store, _workflow(store, run))["6 evaluate"])


def _origin(stage: RunSummary) -> str:
    return stage.tags.get("reused_from", stage.id)


def _kept(
    store: Store, origins: dict[str, str], wanted: dict[str, tuple[str, ...]]
) -> Iterator[tuple[tuple[str, str], Path]]:
    """Yield (stage, path) of each artifact that is there, and where it lies."""
    for stage, paths in wanted.items():
        for path in paths:
            local = store.look_for(origins[stage], path)
            if local is not None:
                yield (stage, path), local


def is_told(run: RunSummary) -> bool:
    """Tell whether a run has a report of its own kind: a workflow, or a chain of them."""
    return run.tags.get("kind") in (WORKFLOW, CHAIN)


def _workflow(store: Store, run: RunSummary) -> RunSummary:
    """Return the run itself, or of a chain the last pass."""
    if not is_told(run):
        kind = run.tags.get("kind", "of another program")
        raise RunError(
            f"run {run.id} ({run.name}) has no stages below it, it is: {kind}. Give the id of a "
            "workflow or a chain; distill-lab compare takes a sweep."
        )
    passes = [one for one in store.children(run.id) if "pass" in one.tags]
    return passes[-1] if run.tags["kind"] == CHAIN and passes else run


def _finished_stages(store: Store, workflow: RunSummary) -> dict[str, RunSummary]:
    below = store.children(workflow.id)
    done = {run.tags["stage"]: run for run in below if _is_finished_stage(run)}
    missing = [stage.name for stage in STAGES if stage.name not in done]
    if missing:
        raise RunError(
            f"run {workflow.id} ({workflow.name}) has no finished stage {', '.join(missing)}. "
            "Give the id of a run that went through all stages."
        )
    return {stage.name: done[stage.name] for stage in STAGES}


def _is_finished_stage(run: RunSummary) -> bool:
    return run.tags.get("kind") == "stage" and run.status == "FINISHED"


def _rows(text: str) -> list[Row]:
    """Read a table that was kept as CSV; what looks like a number is one."""
    lines = csv.DictReader(io.StringIO(text))
    return [{key: _cell(value) for key, value in line.items()} for line in lines]


def _cell(text: str) -> str | int | float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text or None
