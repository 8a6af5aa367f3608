"""What the trials of a search say together: table, best ones, importance of keys, slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from distill_lab.config.space import Axis, Choices, Range
from distill_lab.contracts import Parts
from distill_lab.naming import short_key, short_value
from distill_lab.report import search_plots, tables
from distill_lab.report.html import Section, page
from distill_lab.report.search_plots import Slice
from distill_lab.report.tables import Cell
from distill_lab.search.study import QUALITY, Ended, Study
from distill_lab.tracking.run import TrackedRun
from distill_lab.tracking.store import RunSummary, Store

GAIN = "test/gain_over_control"
COSTS = ("cost/parameters", "cost/macs", "cost/latency_ms")
LABELS = {"latency_ms": "latency, ms", "macs": "MACs", "parameters": "parameters"}
Rows = list[dict[str, Cell]]


@dataclass(frozen=True)
class Summary:
    """What is left of a search.

    Attributes:
        text: for the terminal.
        num_failed: trials.
        best_run: of the best trial; None where there is none, or several aims.
        best_values: its overrides.
    """

    text: str
    num_failed: int
    best_run: str | None
    best_values: list[str]


def summarise(
    study: Study,
    store: Store,
    run: TrackedRun,
    space: list[Axis],
    parts: Parts,
) -> Summary:
    """Log table, plots and the best trial, or the best ones, on the search's run.

    Args:
        study: as it stands; other processes may be at it.
        store: where the trials' runs are.
        run: of the search.
        space: its axes.
        parts: the run around which it searches.
    """
    trials, best = study.trials(), study.best()
    records = {int(r.tags["job"]): r for r in store.children(run.id) if "job" in r.tags}
    quality = parts.data.info.quality
    labels = {QUALITY: f"validation {quality.label}", **LABELS}
    shown = [f"val/{quality.key}", f"test/{quality.key}", GAIN, *COSTS]
    rows = [_row(trial, records.get(trial.number), space, study, shown) for trial in trials]
    counts = {
        f"num_{name}": sum(trial.state == name.upper() for trial in trials)
        for name in ("complete", "pruned", "failed")
    }
    run.log_text(tables.csv_text(rows), "trials.csv")
    run.log_metrics({"num_trials": len(trials), **counts})
    sections = []
    if best:
        chosen = [row for row in rows if row["trial"] in best]
        sections.append(_best_section(chosen, space, study, labels))
        sections += _figures(run, study, trials, space, best, labels)
        _mark(study, run, chosen, shown)
    all_rows = [_short(row, space, study) for row in rows if row["state"] != "FAILED"]
    failed = [{key: row[key] for key in ("trial", "error", "run")} for row in rows if row["error"]]
    if all_rows:
        sections.append(Section("All trials", tables=(all_rows,)))
    if failed:
        sections.append(Section("Failed", tables=(failed,)))
    title = f"Search over {', '.join(short_key(axis.key) for axis in space)}"
    run.log_text(page(title, sections), "report.html")
    text = _text(rows, best, failed, counts, space, study)
    if not best or len(study.search.objectives) > 1:
        return Summary(text, counts["num_failed"], None, [])
    values = next(trial.values for trial in trials if trial.number == best[0])
    given = [f"{key}={value}" for key, value in values.items()]
    return Summary(text, counts["num_failed"], str(chosen[0]["run"]), given)


def _row(
    trial: Ended,
    record: RunSummary | None,
    space: list[Axis],
    study: Study,
    shown: list[str],
) -> dict[str, Cell]:
    row: dict[str, Cell] = {"trial": trial.number, "state": trial.state}
    row |= {axis.key: trial.values.get(axis.key) for axis in space}
    row |= {str(name): trial.objectives.get(name) for name in study.search.objectives}
    row["epochs watched"] = trial.epochs
    metrics = record.metrics if record else {}
    row |= {key: metrics.get(key) for key in shown}
    return row | {"run": record.id if record else None, "error": trial.reason}


def _short(row: dict[str, Cell], space: list[Axis], study: Study) -> dict[str, Cell]:
    """Return what of a row is shown to people."""
    keys = {short_key(axis.key): _cell(row[axis.key]) for axis in space}
    last = {str(name): row[name] for name in study.search.objectives}
    tested = {key: row[key] for key in row if key.startswith("test/")}
    return {"trial": row["trial"], "state": row["state"], **keys, **last, **tested}


def _cell(value: Cell) -> Cell:
    return short_value(value) if isinstance(value, str) else value


def _best_section(chosen: Rows, space: list[Axis], study: Study, labels: dict[str, str]) -> Section:
    shown = [_short(row, space, study) for row in chosen]
    if len(study.search.objectives) == 1:
        name = labels[study.search.objectives[0]]
        text = f"Trial {chosen[0]['trial']} (run {chosen[0]['run']})."
        return Section(f"Best trial, by {name}", text=(text,), tables=(shown,))
    aims = ", ".join(labels[name] for name in study.search.objectives)
    text = "For each of these, no other trial is better in one aim without being worse in another."
    return Section(f"Best trials, by {aims}", text=(text,), tables=(shown,))


def _figures(
    run: TrackedRun,
    study: Study,
    trials: list[Ended],
    space: list[Axis],
    best: list[int],
    labels: dict[str, str],
) -> list[Section]:
    """Draw and log what there is to draw."""
    names = study.search.objectives
    done = [trial for trial in trials if trial.state == "COMPLETE"]
    sections = []
    if len(names) > 1:
        figure = _front(done, best, names, labels)
        run.log_figure(figure, "pareto.png")
        sections.append(
            Section(
                "What trades against what",
                figures=((figure, "Joined: the trials that no other beats in every aim."),),
            )
        )
    figures = []
    for name, shares in study.importances().items():
        short = {short_key(key): share for key, share in shares.items()}
        figure = search_plots.importance(short, labels[name])
        run.log_figure(figure, f"importance/{name}.png")
        run.log_metrics({f"importance/{name}/{_metric(k)}": v for k, v in short.items()})
        figures.append((figure, "By functional ANOVA on a random forest over the complete trials."))
    if figures:
        sections.append(Section("Which keys matter", figures=tuple(figures)))
    figures = []
    for name in names:
        figure = _slices(trials, space, name, labels[name])
        run.log_figure(figure, f"slices/{name}.png")
        figures.append(
            (figure, "Each point is a trial; the star is the best of the complete ones.")
        )
    sections.append(Section("What each key does", figures=tuple(figures)))
    figures = []
    for name in names:
        reached = [trial.objectives[name] for trial in done]
        numbers = [trial.number for trial in done]
        figure = search_plots.history(numbers, reached, name != QUALITY, labels[name])
        run.log_figure(figure, f"history/{name}.png")
        figures.append((figure, "Complete trials in the order in which they were begun."))
    sections.append(Section("How it went on", figures=tuple(figures)))
    return sections


def _front(
    done: list[Ended], best: list[int], names: Sequence[str], labels: dict[str, str]
) -> Figure:
    """Draw the first objective above the second."""
    first, second = names[:2]
    return search_plots.front(
        [trial.objectives[second] for trial in done],
        [trial.objectives[first] for trial in done],
        [trial.number in best for trial in done],
        labels[second],
        labels[first],
    )


def _slices(trials: list[Ended], space: list[Axis], name: str, label: str) -> Figure:
    seen = [trial for trial in trials if name in trial.objectives]
    keys = []
    for axis in space:
        values = [trial.values[axis.key] for trial in seen]
        order = axis.values if isinstance(axis, Choices) else ()
        log = isinstance(axis, Range) and axis.log
        shown = [short_value(value) for value in order]
        texts = [short_value(value) if isinstance(value, str) else value for value in values]
        keys.append(Slice(short_key(axis.key), texts, shown, log))
    complete = [trial.state == "COMPLETE" for trial in seen]
    sign = 1 if name == QUALITY else -1
    done = [place for place, is_complete in enumerate(complete) if is_complete]
    place = max(done, key=lambda place: sign * seen[place].objectives[name])
    return search_plots.slices(keys, [t.objectives[name] for t in seen], complete, place, label)


def _mark(study: Study, run: TrackedRun, chosen: Rows, shown: list[str]) -> None:
    """Give the search's run the best trial's numbers; or name the best ones."""
    names = [str(row["trial"]) for row in chosen]
    if len(study.search.objectives) > 1:
        run.set_tags({"best_trials": ", ".join(names)})
        return
    best = chosen[0]
    run.set_tags({"best_trial": names[0], "best_run": str(best["run"])})
    run.log_metrics({key: float(best[key] or 0.0) for key in shown if best[key] is not None})


def _metric(name: str) -> str:
    return name.replace("@", ".").replace("=", ".")


def _text(
    rows: Rows,
    best: list[int],
    failed: Rows,
    counts: dict[str, int],
    space: list[Axis],
    study: Study,
) -> str:
    parts = []
    complete = [row for row in rows if row["state"] == "COMPLETE"]
    first = study.search.objectives[0]
    sign = -1 if first == QUALITY else 1
    complete.sort(key=lambda row: sign * float(row[first] or 0.0))
    if complete:
        shown = [
            {"": "*" if row["trial"] in best else "", **_short(row, space, study)}
            for row in complete
        ]
        for row in shown:
            del row["state"]
        what = "best first" if len(study.search.objectives) == 1 else "* beaten by no other"
        parts.append(f"\nComplete trials, {what}:\n{tables.text(shown)}")
    if failed:
        parts.append("\nFailed trials:\n" + tables.text(failed))
    told = ", ".join(f"{count} {name.removeprefix('num_')}" for name, count in counts.items())
    parts.append(f"\n{len(rows)} trials: {told}")
    return "\n".join(parts)
