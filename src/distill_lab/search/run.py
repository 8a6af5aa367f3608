"""A search: one trial after another, below one run; the same command elsewhere joins in."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from optuna.trial import Trial

from distill_lab.config.compose import SEARCH, compose
from distill_lab.config.groups import is_group
from distill_lab.config.space import Axis, Range, axes, is_about_search
from distill_lab.contracts import Parts
from distill_lab.data.checksum import checksum
from distill_lab.environment import environment
from distill_lab.errors import Pruned, Refused, without_secret
from distill_lab.fingerprint import fingerprint, source_hash, targets
from distill_lab.handover.hand_over import hand_over
from distill_lab.launch import checked, run_job
from distill_lab.naming import look, short_key, short_name
from distill_lab.plan import STAGES
from distill_lab.refine import merged
from distill_lab.report.tables import format_value
from distill_lab.search.study import QUALITY, Study
from distill_lab.search.summary import summarise
from distill_lab.stages.report_handoff import DISTILLED
from distill_lab.sweep import column
from distill_lab.tracking.failures import REFUSED, refusals_told
from distill_lab.tracking.run import TrackedRun
from distill_lab.tracking.store import Store
from distill_lab.workflow import Done

DATABASE = "search.db"
EPOCHS = "regime.epochs"
UNREAD = ("run", "code", "data")
"""Hashes among what makes a study this one."""


@refusals_told()
def run_search(parts: Parts, overrides: Sequence[str]) -> int:
    """Work on the study of a checked search until it is done; sum it up.

    Args:
        parts: with a search.
        overrides: they were made from.

    Returns:
        Exit code: 0, or 1 if any trial of the study failed.

    Raises:
        ConfigError: the database of the study cannot be had, or its study is another one.
        Refused: the database of the study was lost, or something could not be written.
    """
    search, tracking = parts.search, parts.tracking
    assert search is not None
    store = Store(tracking.uri, tracking.experiment, tracking.artifact_location)
    space = axes(search.space, parts.config)
    asked = what_is_asked(parts, space)
    name = search.study or f"{parts.data.info.name}-{fingerprint(asked)[:12]}"
    num_epochs = max([parts.regime.epochs, *(_longest(a) for a in space if a.key == EPOCHS)])
    url = database(search.storage, store.home)
    lock = store.lock(f"search-{fingerprint([name, url])[:16]}")
    study = Study(name, url, search, space, asked, num_epochs, parts.seed, lock)
    keys = [axis.key for axis in space]
    title = f"{parts.name or 'search'}: {' x '.join(map(short_key, keys))}, {search.sampler}"
    tags = {"study": name, "overrides": " ".join(overrides), "data": parts.data.info.name}
    with _parent(study, store, title, {**tags, **environment()}, asked) as run:
        print(f"\n{title}\nStudy   {name} in {without_secret(url)}")
        _work(study, store, run, parts, overrides)
        store.close_orphans()
        columns = [column(key) for key in keys]
        decides = parts.data.info.quality.decides
        view = store.view(run.id, f"tags.`mlflow.parentRunId` = '{run.id}'", columns, decides)
        run.set_tags({"look": view})
        summary = summarise(study, store, run, space, parts)
        print(summary.text)
        if summary.best_run is not None:
            _hand_over(store, run, summary.best_run, overrides, summary.best_values)
    print(f"\nSearch  {run.id} in {without_secret(tracking.uri)}\n{look(tracking.uri, view)}")
    return 1 if summary.num_failed else 0


def _hand_over(
    store: Store, run: TrackedRun, best_run: str, overrides: Sequence[str], values: list[str]
) -> None:
    """Hand over the student of the best trial, as a sweep does that of its best job."""
    job = merged([text for text in overrides if not is_about_search(text)], values)
    handed_over = hand_over(store, checked(job, as_trial=True), best_run, job)
    if handed_over is not None:
        run.set_tags({"model": handed_over.model, "handover": handed_over.address})
        print(f"\n{handed_over.lines}")


def what_is_asked(parts: Parts, space: list[Axis]) -> dict[str, Any]:
    """Return what makes a study this one: the run around which it searches, and how it does.

    The code and the data are part of it, as they are of each stage: trials of other code or other
    data are no answers to this question. How long it goes on, and where, is not in it.

    Raises:
        DataError: the data cannot be had.
    """
    search = parts.search
    assert search is not None
    around = {key: value for key, value in parts.config.items() if key not in ("tracking", "name")}
    return {
        "run": fingerprint(around),
        "code": None if parts.reuse == "any_code" else source_hash(_modules(parts, space)),
        "data": checksum(parts.data.load()),
        "space": [repr(axis) for axis in space],
        "sampler": search.sampler,
        "objectives": list(search.objectives),
        "pruner": [search.pruner, search.prune_from_epoch, search.prune_from_trial],
    }


def _modules(parts: Parts, space: list[Axis]) -> Iterator[str]:
    """Yield the modules that a trial may run: stages, parts, and parts that the space offers."""
    yield from (f"distill_lab.stages.{stage.module}" for stage in STAGES)
    yield from targets(parts.config)
    for axis in space:
        if is_group(axis.key.partition("@")[0]):
            for option in axis.probes:
                yield from targets(compose([f"{axis.key}={option}"]))


def database(storage: str | None, folder: Path) -> str:
    """Return the address of the study's database; a relative file is below the working directory.

    >>> database(None, Path("/runs"))
    'sqlite:////runs/search.db'
    """
    if storage is None:
        return f"sqlite:///{folder.resolve() / DATABASE}"
    prefix, path = "sqlite:///", storage.removeprefix("sqlite:///")
    return f"{prefix}{Path(path).resolve()}" if storage.startswith(prefix) and path else storage


def _longest(axis: Axis) -> int:
    return int(axis.high) if isinstance(axis, Range) else max(map(int, axis.values))


@contextmanager
def _parent(
    study: Study, store: Store, title: str, tags: dict[str, str], asked: dict[str, Any]
) -> Iterator[TrackedRun]:
    """Open the run that all trials of the study are below; it stays open while others are at it."""
    with study.lock:
        known = study.parent
        if known is not None and store.find(known) is not None:
            run = store.reopen(known)
        else:
            run = store.start(title, {**tags, "kind": "search"})
            study.parent = run.id
            shown = {key: value for key, value in asked.items() if key not in UNREAD}
            run.log_params({SEARCH: shown})
    try:
        with run:
            yield run
    finally:
        # What is away now is told of by whatever else asks for it, and does not hide why this ends.
        with suppress(Refused, *REFUSED), study.lock:
            others = study.others()
            if others:
                store.reopen(run.id, others[0])


def _work(
    study: Study, store: Store, run: TrackedRun, parts: Parts, overrides: Sequence[str]
) -> None:
    """Do one trial after another, until there is none left or the time is up."""
    assert parts.search is not None
    minutes, start = parts.search.max_minutes, monotonic()
    own = [text for text in overrides if not is_about_search(text)]
    while minutes is None or monotonic() - start < 60 * minutes:
        trial = study.ask()
        if trial is None:
            return
        with study.heartbeat(trial):
            _do(study, trial, store, run, own, parts)
    print(f"\n{SEARCH}.max_minutes={minutes:g} are over; the same command goes on.")


def _do(
    study: Study, trial: Trial, store: Store, run: TrackedRun, own: list[str], parts: Parts
) -> None:
    """Do a trial; one that fails or is pruned does not end the search.

    What a disk or a store refuses does: it would refuse every other trial too.
    """
    search = parts.search
    assert search is not None
    given = [f"{key}={value}" for key, value in trial.params.items()]
    short = [f"{key}={_short(value)}" for key, value in trial.params.items()]
    name = f"trial {trial.number}: {short_name(short)}"
    print(f"\n{name}")
    tags = {"job": str(trial.number)}
    place = [f"tracking.sweep_run_id={run.id}", f"tracking.job={trial.number}"]
    watch = None if search.pruner == "off" else partial(study.is_behind, trial)
    begun = False
    try:
        made = checked([*(job := merged(own, given)), *place], as_trial=True)
        begun = True
        done = run_job(made, job, name, watch)
    except Pruned as pruned:
        print(f"  {pruned}")
        study.prune(trial)
    except (KeyboardInterrupt, SystemExit, Refused):
        study.put_back(trial)
        raise
    except Exception as error:  # values that somebody's code fails on are one failed trial
        reason = without_secret(" ".join(f"{type(error).__name__}: {error}".split()))
        print(f"  failed: {reason}", file=sys.stderr)
        # First in the store: where that is away, the trial is not failed, and is put back later.
        run.log_text(without_secret(traceback.format_exc()), f"failed/{trial.number}.txt")
        study.fail(trial, reason)
        if not begun:
            with suppress(type(error)), store.start(name, tags, run.id):
                raise
    else:
        study.complete(trial, [reached(done, one) for one in search.objectives])


def reached(done: Done, objective: str) -> float:
    """Return what a trial has of an objective: its quality on validation, or a cost."""
    if objective == QUALITY:
        return done.report.validation.quality
    return float(getattr(done.report.row(DISTILLED).cost, objective))


def _short(value: str | float) -> str:
    return value if isinstance(value, str) else format_value(value).replace(",", "")
