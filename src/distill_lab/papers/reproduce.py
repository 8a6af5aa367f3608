"""`distill-lab reproduce`: measure the numbers of a paper, and put them beside its own."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from distill_lab.contracts import Parts
from distill_lab.environment import environment
from distill_lab.errors import ConfigError, DistillLabError, RunError, nearest, without_secret
from distill_lab.launch import checked, run_job
from distill_lab.naming import look, short_name
from distill_lab.papers.grid import each_line_and_column
from distill_lab.papers.paper import Job, Paper, Row, Scale, papers, read_paper
from distill_lab.papers.results import Measured, Results, keep, measured, path_of, read
from distill_lab.papers.scoreboard import Line, board
from distill_lab.report import tables
from distill_lab.report.html import Section, page


def reproduce(paper: Paper, scale_name: str, only: str, overrides: Sequence[str]) -> int:
    """Run what is missing of a paper and show its table; finished stages are reused.

    A row is written beside the paper's file once its last run is done; what was stopped goes on
    from the store. Rows that are not asked for stay there as they were.

    Args:
        paper: whose numbers.
        scale_name: one of the paper's scales.
        only: which rows, see `Paper.named`.
        overrides: of every run, e.g. where it is tracked.

    Returns:
        Exit code: 0, or 1 if a run failed.

    Raises:
        ConfigError: a run is asked for wrongly; nothing was started.
        RunError: something could not be written or read.
    """
    scale = paper.scales[scale_name]
    rows = [row.at(scale) for row in paper.named(only)]
    jobs = checked_jobs(paper.name, rows, scale, overrides)
    words = [paper.name, "--scale", scale_name, *(["--only", only] if only != "*" else [])]
    command = without_secret(shlex.join(["distill-lab", "reproduce", *words, *overrides]))

    from distill_lab.tracking.failures import refusals_told
    from distill_lab.tracking.store import Store

    tracking = next(iter(jobs.values())).tracking
    store = Store(tracking.uri, tracking.experiment, tracking.artifact_location)
    made, path = _Made(rows, scale, list(overrides)), path_of(paper, scale_name)
    if path.is_file():
        read(path)  # what cannot be read is told of before hours of work
    tags = {"kind": "paper", "paper": paper.name, "scale": scale_name, **environment()}
    with refusals_told(), store.start(f"{paper.name}, {scale_name}", tags) as run:
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
            keep(path, paper, results)
        lines = board(rows, results, store.run_address)
        run.log_text(tables.markdown(lines), "scoreboard.md")
        run.log_text(page(paper.title, _sections(paper, made, results, lines)), "report.html")
        run.set_tags({"mlflow.note.content": tables.markdown(lines)})
        means = {f"ours/{row.name}": row.mean for row in results.rows if row.mean is not None}
        run.log_metrics(means)
    columns = ["row", "unit", "paper", "ours", "verdict"]
    print(f"\n{tables.text(lines, columns)}\n\nResults {path}")
    print(look(store.uri, store.run_address(run.id)))
    return 1 if made.errors else 0


def check_papers() -> int:
    """Check a run of every row of every paper, and return how many rows there are.

    Of a grid every line and every column is tried, not each with each, and scales but the first by
    one row.

    Raises:
        ConfigError: lists every problem.
    """
    problems, count = [], 0
    for name in papers():
        paper = read_paper(name)
        rows = [replace(row, seeds=row.seeds[:1]) for row in each_line_and_column(paper.rows)]
        count += len(paper.rows)
        for number, scale in enumerate(paper.scales.values()):
            try:
                checked_jobs(name, rows[:1] if number else rows, scale, [])
            except ConfigError as error:
                problems += error.problems
    if problems:
        raise ConfigError(problems)
    return count


def checked_jobs(
    paper: str, rows: Sequence[Row], scale: Scale, overrides: Sequence[str]
) -> dict[Job, Parts]:
    """Return the runs that the rows need, each once; several rows may read one run.

    Raises:
        ConfigError: lists every problem of any.
    """
    jobs: dict[Job, Parts] = {}
    problems: list[str] = []
    for row in rows:
        for job in _jobs(row, scale, overrides):
            if job in jobs:
                continue
            try:
                jobs[job] = checked(job)
            except ConfigError as error:
                problems += [f"{paper}, row {row.name}: {text}" for text in error.problems]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return jobs


def _jobs(row: Row, scale: Scale, overrides: Sequence[str]) -> list[Job]:
    sources = [source for seed in row.seeds for source in row.sources(scale, seed)]
    return [(*job, *overrides) for job, _ in sources]


@dataclass
class _Made:
    """What the runs gave so far."""

    rows: list[Row]
    scale: Scale
    overrides: list[str]
    found: dict[Job, tuple[str, dict[str, float]]] = field(default_factory=dict)
    errors: dict[Job, str] = field(default_factory=dict)

    def results(self, command: str) -> Results:
        """Return the rows whose runs have ended, with the values there are."""
        tags = environment()
        prefix = "version."
        versions = {k.removeprefix(prefix): v for k, v in tags.items() if k.startswith(prefix)}
        commit = tags["mlflow.source.git.commit"]
        rows = [self._row(row, commit) for row in self.rows if self._is_done(row)]
        return Results(command, commit, versions, rows)

    def _is_done(self, row: Row) -> bool:
        ended = self.found.keys() | self.errors.keys()
        return ended.issuperset(_jobs(row, self.scale, self.overrides))

    def _row(self, row: Row, commit: str) -> Measured:
        values, runs, seeds = [], [], []
        for seed in row.seeds:
            sources = [((*job, *self.overrides), m) for job, m in row.sources(self.scale, seed)]
            if all(job in self.found for job, _ in sources):
                first, *other = [self._metric(row, job, metric) for job, metric in sources]
                values.append(round(row.multiply * (first - sum(other)), 6))
                runs.append([self.found[job][0] for job, _ in sources])
                seeds.append(seed)
        jobs = _jobs(row, self.scale, self.overrides)
        return measured(
            row,
            self.scale.kind,
            values,
            [first for first, *_ in runs],
            minus_runs=[other for _, *others in runs for other in others],
            error=" ".join(dict.fromkeys(self.errors[job] for job in jobs if job in self.errors)),
            seeds=seeds,
            commit=commit,
        )

    def _metric(self, row: Row, job: Job, metric: str) -> float:
        run_id, metrics = self.found[job]
        if metric not in metrics:
            raise RunError(
                f"row {row.name}: run {run_id} has no metric {metric!r}.{nearest(metric, metrics)}"
            )
        return metrics[metric]


def _sections(paper: Paper, made: _Made, results: Results, lines: list[Line]) -> list[Section]:
    protocol = [
        {
            "row": row.name,
            "where": row.where,
            "tolerance": None if row.is_claim else row.tolerance,
            "metric": " minus ".join(metric for _, metric in row.sources(made.scale, row.seeds[0])),
            "overrides": " ".join(row.overrides),
            "minus": " ".join(row.minus or []),
        }
        for row in made.rows
    ]
    text = (
        paper.source,
        f"Scale: {made.scale.kind}. Ours: mean and standard deviation, number of seeds. A number "
        "is reached if our mean is not worse by more than the row's tolerance; a claim is "
        "confirmed if the whole interval of the difference is on the claimed side of zero.",
        f"{results.command}, commit {results.commit}",
    )
    failed = [{"row": row.name, "error": row.error} for row in results.rows if row.error]
    return [
        Section("The paper's numbers and ours", text=text, tables=(lines,)),
        Section("How each is measured", tables=(protocol,)),
        *([Section("Failed", tables=(failed,))] if failed else []),
    ]
