"""What the jobs of a sweep say together: table, main effects, seed spread, best job."""

from __future__ import annotations

from typing import NamedTuple

from distill_lab.contracts import ACCURACY, NDCG10, Quality
from distill_lab.measure.intervals import t_interval
from distill_lab.naming import short_key, short_value, split_override
from distill_lab.pages.differences import best_and_next
from distill_lab.report import plots, tables
from distill_lab.report.effects import main_effects, seed_spread
from distill_lab.report.html import Goal, Section, page
from distill_lab.report.paired_seeds import against_others
from distill_lab.report.tables import Cell
from distill_lab.told_apart import runs_apart
from distill_lab.tracking.run import TrackedRun
from distill_lab.tracking.store import RunSummary, Store

TIES_BY = "val/nll"
GAIN = "test/gain_over_control"
COSTS = ("cost/parameters", "cost/macs")
COMPRESSED = "compressed/last/"
"""Before the metrics of the last variant of the distilled student."""
Rows = list[dict[str, Cell]]


class Summary(NamedTuple):
    """What the jobs say together.

    Attributes:
        text: for the terminal.
        num_failed: jobs.
        best: number of the best job by validation, and its run; None where none was finished.
    """

    text: str
    num_failed: int
    best: tuple[int, str] | None


def summarise(
    store: Store,
    run: TrackedRun,
    asked: list[list[str]],
    names: list[str],
    keys: list[str],
    wrong: dict[int, str],
) -> Summary:
    """Log table, plots and best job on the sweep's run.

    Args:
        store: where the jobs' runs are.
        run: of the sweep.
        asked: overrides of each job.
        names: short name of each job.
        keys: the swept keys.
        wrong: job number -> why it could not start.
    """
    records = {int(r.tags["job"]): r for r in store.children(run.id) if "job" in r.tags}
    tags = store.get(run.id).tags
    told = {n: tags[f"failed.{n}"] for n in range(len(asked)) if f"failed.{n}" in tags}
    rows = [
        _row(store, number, names[number], overrides, keys, records.get(number), (told | wrong))
        for number, overrides in enumerate(asked)
    ]
    done = [row for row in rows if row["status"] == "FINISHED"]
    failed = [row for row in rows if row["status"] != "FINISHED"]
    run.log_text(tables.csv_text(rows), "jobs.csv")
    run.log_metrics({"num_jobs": len(rows), "num_failed": len(failed)})
    sections = []
    best = next(iter(_best_first(done)), None)
    apart = [] if "seed" in keys else _apart(store, _best_first(done)[:2])
    if best is not None:
        sections += _of_done(run, done, best, keys, apart)
        _mark(store, run, best)
    if failed:
        sections.append(Section("Failed", tables=(_failures(failed),)))
    run.log_text(page(f"Sweep over {', '.join(map(short_key, keys))}", sections), "report.html")
    chosen = None if best is None else (int(str(best["job"])), str(best["run"]))
    return Summary(_text(done, failed, keys, apart), len(failed), chosen)


def _quality(done: Rows) -> Quality:
    """Return what the jobs are compared by: NDCG@10 where all of them rank items."""
    return NDCG10 if all(f"val/{NDCG10.key}" in row for row in done) else ACCURACY


def _metrics(quality: Quality) -> list[str]:
    """Return the metrics that are shown, the one that jobs are chosen by first."""
    return [f"val/{quality.key}", f"test/{quality.key}", GAIN, "test/agreement", "test/ece"]


def _best_first(done: Rows) -> Rows:
    """Higher quality on validation first, at equal quality lower validation NLL."""
    chosen_by = _metrics(_quality(done))[0]

    def rank(row: dict[str, Cell]) -> tuple[float, float]:
        return float(row[chosen_by] or 0.0), -float(row[TIES_BY] or 0.0)

    return sorted(done, key=rank, reverse=True)


def _apart(store: Store, first: Rows) -> list[str]:
    """Return one sentence on whether the best job is told apart from the next; none without a test.

    Where seeds are swept, settings are held against each other seed by seed instead.
    """
    if len(first) < 2:
        return []
    best, other = first
    found = runs_apart(store, str(best["run"]), str(other["run"]))
    return [] if found is None else [best_and_next(str(best["name"]), str(other["name"]), found)]


def _mark(store: Store, run: TrackedRun, best: dict[str, Cell]) -> None:
    """Give the sweep's run the best job's numbers."""
    run.set_tags({"best_job": str(best["name"]), "best_run": str(best["run"])})
    run.log_metrics({key: float(best[key] or 0.0) for key in (*_metrics(_quality([best])), *COSTS)})
    store.open(str(best["run"])).set_tags({"best_of_sweep": "true"})


def _of_done(
    run: TrackedRun, done: Rows, best: dict[str, Cell], keys: list[str], apart: list[str]
) -> list[Section]:
    figures = []
    quality = _quality(done)
    on_validation = f"validation {quality.label}"
    for key, effect in main_effects(done, keys, _metrics(quality)[0]).items():
        figure = plots.main_effects({short_key(key): effect}, on_validation)
        run.log_figure(figure, f"effects/{short_key(key).replace('/', '_')}.png")
        text = f"Mean over all jobs with that {short_key(key)}; whiskers: their standard deviation."
        figures.append((figure, text))
    sections = [
        Section(
            f"Best job, by {on_validation}",
            text=(f"{best['name']} (run {best['run']})", *apart),
            tables=(_shown([best], keys),),
        ),
        Section("All jobs", tables=(_shown(done, keys),)),
        Section("Main effects", figures=tuple(figures)),
    ]
    if "seed" in keys:
        sections.insert(1, _over_seeds(run, done, best, keys))
    return sections


def _over_seeds(run: TrackedRun, done: Rows, best: dict[str, Cell], keys: list[str]) -> Section:
    """Log mean and spread of every setting; the verdict is on the best job's setting."""
    spread = _seeds(done, _but_seed(keys))
    run.log_text(tables.csv_text(spread), "seeds.csv")
    setting = next(r for r in spread if all(r[short_key(k)] == best[k] for k in _but_seed(keys)))
    mean, std = (setting[f"{GAIN} {part}"] for part in ("mean", "std"))
    run.log_metrics({f"{GAIN}_mean": float(mean or 0.0)})
    if std is None:
        return Section("Spread over seeds", tables=(spread,))
    run.log_metrics({f"{GAIN}_std": float(std)})
    value = f"{100 * float(mean or 0.0):.1f} ± {100 * float(std):.1f} points"
    aim = f"n = {setting['seeds']}{_where(done, best, keys)}"
    goal = Goal("gain over the control", value, aim, float(mean or 0.0) > 0)
    texts = ["Of the best job's setting: mean and standard deviation over its seeds."]
    short = [_short_spread(row) for row in spread]
    paired = _paired(done, best, keys)
    if paired:
        run.log_text(tables.csv_text(paired), "paired_seeds.csv")
        texts.append(
            "The second table holds that setting against each other one, seed by seed, on the test "
            "split, which the best was not chosen on: mean difference, its interval of 95 % and p "
            "of the paired t-test. An interval that holds 0 does not tell the two apart; p is not "
            f"adjusted for the number of comparisons, {len(paired)}."
        )
    shown = (short, paired) if paired else (short,)
    return Section("Spread over seeds", verdict=(goal,), text=tuple(texts), tables=shown)


def _where(done: Rows, best: dict[str, Cell], keys: list[str]) -> str:
    """Return the interval of the gain over the seeds of the best job's setting, for people."""
    own = [row for row in done if all(row[key] == best[key] for key in _but_seed(keys))]
    found = t_interval([float(row[GAIN] or 0.0) for row in own])
    if found is None:
        return ""
    return f"; 95 % interval {100 * found.low:+.1f} to {100 * found.high:+.1f}"


def _paired(done: Rows, best: dict[str, Cell], keys: list[str]) -> Rows:
    """Compare the best job's setting with each other one, on test."""
    but_seed, metric = _but_seed(keys), f"test/{_quality(done).key}"
    found = against_others(done, but_seed, best, metric)
    return [{short_key(key): value for key, value in row.items()} for row in found]


def _seeds(done: Rows, keys: list[str]) -> Rows:
    """Return mean and spread over seeds of quality and of the gain over the control."""
    joined: Rows = []
    parts = [(key, seed_spread(done, keys, key)) for key in _metrics(_quality(done))]
    for number, first in enumerate(parts[0][1]):
        row: dict[str, Cell] = {short_key(key): first[key] for key in keys}
        row["seeds"] = first["n"]
        for metric, spread in parts:
            row[f"{metric} mean"] = spread[number]["mean"]
            row[f"{metric} std"] = spread[number]["std"]
        joined.append(row)
    return joined


def _row(
    store: Store,
    number: int,
    name: str,
    overrides: list[str],
    keys: list[str],
    record: RunSummary | None,
    wrong: dict[int, str],
) -> dict[str, Cell]:
    """Return a job as a row; of a refined one, the numbers are its best round's."""
    given = dict(split_override(text) for text in overrides)
    row: dict[str, Cell] = {"job": number, "name": name}
    row["status"] = record.status if record else "NOT STARTED"
    if record is not None and number in wrong:
        row["status"] = "FAILED"
    if record is not None and record.tags.get("best_round", record.id) != record.id:
        record = store.get(record.tags["best_round"])
    row |= {key: _cell(given.get(key, "")) for key in keys}
    metrics = record.metrics if record else {}
    row |= {key: metrics.get(key) for key in (TIES_BY, *_metrics(ACCURACY), *COSTS)}
    row |= {key: metrics[key] for key in _metrics(NDCG10) if key in metrics}
    row |= {key: value for key, value in metrics.items() if key.startswith(COMPRESSED)}
    row["run"] = record.id if record else None
    left = record.tags.get("error", "") if record else "the job left no run"
    row["error"] = wrong.get(number, left)
    return row


def _cell(value: str) -> Cell:
    """Return a number where the text is one, so that effects are ordered by size."""
    try:
        return float(value) if "." in value or "e" in value else int(value)
    except ValueError:
        return short_value(value)


def _shown(rows: Rows, keys: list[str]) -> Rows:
    metrics = _metrics(_quality(rows))
    metrics += dict.fromkeys(key for row in rows for key in row if key.startswith(COMPRESSED))
    return [
        {"job": row["job"]}
        | {short_key(k): row[k] for k in keys}
        | {k: row.get(k) for k in metrics}
        for row in rows
    ]


def _failures(failed: Rows) -> Rows:
    return [{key: row[key] for key in ("job", "name", "status", "error")} for row in failed]


def _text(done: Rows, failed: Rows, keys: list[str], apart: list[str]) -> str:
    parts = []
    if done:
        shown = tables.text(_shown(_best_first(done), keys))
        parts.append(f"\nJobs, best validation {_quality(done).label} first:\n{shown}")
        parts += apart
    if done and "seed" in keys:
        spread = tables.text([_short_spread(row) for row in _seeds(done, _but_seed(keys))])
        parts.append(f"\nMean and standard deviation over seeds:\n{spread}")
    if failed:
        parts.append("\nFailed jobs:\n" + tables.text(_failures(failed)))
    return "\n".join(parts)


def _but_seed(keys: list[str]) -> list[str]:
    return [key for key in keys if key != "seed"]


def _short_spread(row: dict[str, Cell]) -> dict[str, Cell]:
    """Join each mean with its standard deviation, for the terminal."""
    short = {key: value for key, value in row.items() if not key.startswith(("val/", "test/"))}
    for metric in (key.removesuffix(" mean") for key in row if key.endswith(" mean")):
        mean, std = (tables.format_value(row[f"{metric} {part}"]) for part in ("mean", "std"))
        short[metric] = f"{mean} ± {std}"
    return short
