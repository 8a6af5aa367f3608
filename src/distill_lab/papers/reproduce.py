"""`distill-lab reproduce`: measure the numbers of a paper, and put them beside its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from distill_lab.contracts import Parts
from distill_lab.environment import environment
from distill_lab.errors import ConfigError, DistillLabError, RunError, nearest
from distill_lab.launch import checked, run_job
from distill_lab.naming import LOOK, short_name
from distill_lab.papers.paper import Paper, Row, Scale, papers, read_paper
from distill_lab.papers.results import Measured, Results, measured, path_of, write
from distill_lab.papers.scoreboard import Line, board
from distill_lab.report import tables
from distill_lab.report.html import Section, page

Job = tuple[str, ...]


def reproduce(paper: Paper, scale_name: str, overrides: Sequence[str]) -> int:
    """Run what is missing of a paper and show its table; finished stages are reused.

    Results are written beside the paper's file at the end; what was stopped goes on from the store.

    Args:
        paper: whose numbers.
        scale_name: one of the paper's scales.
        overrides: of every run, e.g. where it is tracked.

    Returns:
        Exit code: 0, or 1 if a run failed.

    Raises:
        ConfigError: a run is asked for wrongly; nothing was started.
    """
    scale = paper.scales[scale_name]
    jobs = checked_jobs(paper, scale, overrides)
    command = " ".join(["distill-lab reproduce", paper.name, f"--scale {scale_name}", *overrides])

    from distill_lab.tracking.store import Store

    tracking = next(iter(jobs.values())).tracking
    store = Store(tracking.uri, tracking.experiment, tracking.artifact_location)
    made = _Made(paper, scale, list(overrides))
    tags = {"kind": "paper", "paper": paper.name, "scale": scale_name, **environment()}
    with store.start(f"{paper.name}, {scale_name}", tags) as run:
        for number, (job, parts) in enumerate(jobs.items()):
            title = short_name(job)
            print(f"\n{number + 1} of {len(jobs)}: {title}")
            own = replace(parts.tracking, sweep_run_id=run.id, job=number)
            try:
                done = run_job(replace(parts, tracking=own), job, title)
                made.found[job] = (done.run_id, done.report.metrics)
            except DistillLabError as error:
                print(f"\nFailed: {error}", file=sys.stderr)
                made.errors[job] = str(error)
        results = made.results(command)
        write(path_of(paper, scale_name), results)
        lines = board(paper, results, store.run_address)
        run.log_text(tables.markdown(lines), "scoreboard.md")
        run.log_text(page(paper.title, _sections(made, results, lines)), "report.html")
        run.set_tags({"mlflow.note.content": tables.markdown(lines)})
        means = {f"ours/{row.name}": row.mean for row in results.rows if row.mean is not None}
        run.log_metrics(means)
    columns = ["row", "unit", "paper", "ours", "verdict"]
    print(f"\n{tables.text(lines, columns)}\n\nResults {path_of(paper, scale_name)}")
    print(f"{LOOK}\n        {store.run_address(run.id)}")
    return 1 if made.errors else 0


def check_papers() -> int:
    """Check a run of every row of every paper, at each scale, and return how many rows there are.

    Raises:
        ConfigError: lists every problem.
    """
    problems, count = [], 0
    for name in papers():
        paper = read_paper(name)
        rows = [replace(row, seeds=row.seeds[:1]) for row in paper.rows]
        for scale in paper.scales.values():
            count += len(rows)
            try:
                checked_jobs(replace(paper, rows=rows), scale, [])
            except ConfigError as error:
                problems += error.problems
    if problems:
        raise ConfigError(problems)
    return count


def checked_jobs(paper: Paper, scale: Scale, overrides: Sequence[str]) -> dict[Job, Parts]:
    """Return the runs that the rows need, each once; several rows may read one run.

    Raises:
        ConfigError: lists every problem of any.
    """
    jobs: dict[Job, Parts] = {}
    problems: list[str] = []
    for row in paper.rows:
        for seed in row.seeds:
            job = (*row.job(scale, seed), *overrides)
            if job in jobs:
                continue
            try:
                jobs[job] = checked(job)
            except ConfigError as error:
                problems += [f"{paper.name}, row {row.name}: {text}" for text in error.problems]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return jobs


@dataclass
class _Made:
    """What the runs gave so far."""

    paper: Paper
    scale: Scale
    overrides: list[str]
    found: dict[Job, tuple[str, dict[str, float]]] = field(default_factory=dict)
    errors: dict[Job, str] = field(default_factory=dict)

    def results(self, command: str) -> Results:
        """Return all rows, with the values there are."""
        tags = environment()
        prefix = "version."
        versions = {k.removeprefix(prefix): v for k, v in tags.items() if k.startswith(prefix)}
        rows = [self._row(row) for row in self.paper.rows]
        return Results(command, tags["mlflow.source.git.commit"], versions, rows)

    def _row(self, row: Row) -> Measured:
        jobs = [(*row.job(self.scale, seed), *self.overrides) for seed in row.seeds]
        done = [self.found[job] for job in jobs if job in self.found]
        for run_id, metrics in done:
            if row.metric not in metrics:
                raise RunError(
                    f"row {row.name}: run {run_id} has no metric {row.metric!r}."
                    f"{nearest(row.metric, metrics)}"
                )
        ours = [round(row.multiply * metrics[row.metric], 6) for _, metrics in done]
        failed = " ".join(dict.fromkeys(self.errors[job] for job in jobs if job in self.errors))
        return measured(row, self.scale.kind, ours, [run_id for run_id, _ in done], failed)


def _sections(made: _Made, results: Results, lines: list[Line]) -> list[Section]:
    protocol = [
        {
            "row": row.name,
            "where": row.where,
            "tolerance": row.tolerance,
            "metric": row.metric,
            "overrides": " ".join(row.overrides),
        }
        for row in made.paper.rows
    ]
    text = (
        made.paper.source,
        f"Scale: {made.scale.kind}. Ours: mean and standard deviation, number of seeds. A number "
        "is reached if our mean is not worse by more than the row's tolerance.",
        f"{results.command}, commit {results.commit}",
    )
    failed = [{"row": row.name, "error": row.error} for row in results.rows if row.error]
    return [
        Section("The paper's numbers and ours", text=text, tables=(lines,)),
        Section("How each is measured", tables=(protocol,)),
        *([Section("Failed", tables=(failed,))] if failed else []),
    ]
