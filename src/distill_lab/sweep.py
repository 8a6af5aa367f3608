"""A sweep: many jobs under one run, and what they say together."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from distill_lab.config.compose import compose, jobs
from distill_lab.config.groups import is_group
from distill_lab.config.launcher import Launcher, launcher_of
from distill_lab.config.overrides import LAUNCHER, read
from distill_lab.contracts import Parts
from distill_lab.errors import ConfigError, without_secret
from distill_lab.launch import ALONE, checked
from distill_lab.launchers import MORE_ROOM, ctrl_c_spares_children, lost_by, reach, release
from distill_lab.naming import look, short_key, short_name, split_override
from distill_lab.parallel import LOST, stopped_with_this_process
from distill_lab.stopping import Terminated
from distill_lab.sweep_job import JOBS, Job, tell_to_stop, this_place

if TYPE_CHECKING:
    from distill_lab.tracking.run import TrackedRun
    from distill_lab.tracking.store import Store

THREADS = "hardware.threads"
SECONDS_TO_TELL = 600.0  # the others, after one was lost; about as long as a server is asked again
SECONDS_TO_END = 60.0  # that jobs have to close their runs after one of them was lost
Launch = Callable[[list[str], Callable[[Any], None]], None]


def run_sweep(overrides: Sequence[str], launch: Launch) -> int:
    """Check all jobs, run them under one run, sum them up.

    Jobs whose config is wrong are named at the start and counted as failed; the others run. Hydra
    is asked to launch job numbers; each job reads its overrides from the sweep's run, so that it
    finds them wherever the launcher puts it.

    Args:
        overrides: of the whole sweep, with comma-separated values.
        launch: hands overrides and the job function to Hydra.

    Returns:
        Exit code: 0, or 1 if any job failed.

    Raises:
        ConfigError: no job's config is right; nothing was started.
        RunError: the store could not be written to.
    """
    request = read(overrides)
    if request.problems:
        raise ConfigError(request.problems)
    asked = jobs(overrides)
    parts, wrong = _checked(asked)
    launcher = launcher_of(overrides)
    at_once = min(reach(launcher), len(parts))

    from distill_lab.tracking.failures import refusals_told
    from distill_lab.tracking.store import Store

    first = next(iter(parts.values()))
    keys = swept_keys(asked)
    names = [short_name([f"{k}={split(job)[k]}" for k in keys if k in split(job)]) for job in asked]
    tracking = first.tracking
    store = Store(tracking.uri, tracking.experiment, tracking.artifact_location)
    count = f"{len(asked)} job{'s' * (len(asked) != 1)}"
    name = (
        f"{first.name or 'sweep'}: {' x '.join(map(short_key, keys)) or 'nothing swept'}, {count}"
    )
    tags = {"kind": "sweep", "overrides": " ".join(overrides), "data": first.data.info.name}
    with refusals_told(), store.start(name, tags) as run:
        print(f"\n{name}")
        run.log_params(_values(asked, keys))
        if launcher.apart and len(parts) > 1:
            asked = _side_by_side(asked, parts, launcher, at_once)
        run.log_json({str(n): [names[n], job] for n, job in enumerate(asked)}, JOBS)
        order = teachers_first(parts) if launcher.apart else sorted(parts)
        handed_on = [text for text in overrides if _is_for_launcher(text)]
        own = [f"tracking.sweep_run_id={run.id}", f"tracking.job={','.join(map(str, order))}"]
        any_job = Job(os.getcwd(), this_place())
        if launcher.apart:
            own.append(f"hydra.sweep.dir={_quoted(launcher.folder)}")
            _apart(partial(launch, [*handed_on, *own], any_job), launcher, store, run)
        else:
            launch([*handed_on, *own], any_job)
        store.close_orphans()
        # They import matplotlib and Lightning: not before they are due.
        from distill_lab.handover.hand_over import hand_over
        from distill_lab.sweep_summary import summarise

        columns = [column(key) for key in keys]
        view = store.view(
            run.id,
            f"tags.`mlflow.parentRunId` = '{run.id}'",
            columns,
            first.data.info.quality.decides,
        )
        run.set_tags({"look": view})
        summary = summarise(store, run, asked, names, keys, wrong)
        print(summary.text)
        if summary.best is not None:
            number, best_run = summary.best
            job = made_from(store, best_run, asked[number])
            handed_over = hand_over(store, checked(job), best_run, job)
            if handed_over is not None:
                run.set_tags({"model": handed_over.model, "handover": handed_over.address})
                print(f"\n{handed_over.lines}")
    print(f"\nSweep   {run.id} in {without_secret(tracking.uri)}\n{look(tracking.uri, view)}")
    return 1 if summary.num_failed else 0


def made_from(store: Store, run_id: str, job: list[str]) -> list[str]:
    """Return the overrides of the best run of a job: where it was refined, those of its best round.

    Args:
        store: where the run is.
        run_id: of the job, or of a round below it.
        job: overrides of the job.
    """
    from distill_lab.stages.handoffs import from_plain
    from distill_lab.stages.lineage import LINEAGE, Lineage

    tags = store.get(run_id).tags
    if "round" not in tags:
        return job
    lineage = from_plain(Lineage, store.read_json(tags["mlflow.parentRunId"], LINEAGE))
    return next(one.overrides for one in lineage.rounds if one.run_id == run_id)


def _apart(launch: Callable[[], None], launcher: Launcher, store: Store, run: TrackedRun) -> None:
    """Launch jobs in processes of their own; on the way out, none of them is at work any more.

    Where one is lost, the others are told to stop, as no launcher goes on to wait for them.
    """
    told = stopped_with_this_process(partial(tell_to_stop, run))
    try:
        with told, ctrl_c_spares_children(launcher):
            launch()
    except lost_by(launcher) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
        print(f"\n{LAUNCHER}={launcher.name}: {reason}", file=sys.stderr)
        print(LOST.format(more=MORE_ROOM[launcher.name]), file=sys.stderr)
        tell_to_stop(run, SECONDS_TO_TELL)
        _wait_for_jobs(store, run.id)
    except (KeyboardInterrupt, Terminated):  # of which they are told already
        raise
    except BaseException:
        from distill_lab.tracking.failures import REFUSED

        with suppress(*REFUSED):  # what came first is what is told
            tell_to_stop(run, SECONDS_TO_TELL)
        raise
    finally:
        release(launcher)
    store.close_below(run.id)  # also what was lost with another host


def _wait_for_jobs(store: Store, run_id: str) -> None:
    """Wait until no job of a sweep has an open run, as long as it takes to close them."""
    from distill_lab.tracking.failures import REFUSED

    limit = time.monotonic() + SECONDS_TO_END
    while time.monotonic() < limit:
        with suppress(*REFUSED):  # while another process writes; it is asked again
            store.close_orphans()
            if all(job.status != "RUNNING" for job in store.children(run_id)):
                return
        time.sleep(1.0)


def _side_by_side(
    asked: list[list[str]], parts: dict[int, Parts], launcher: Launcher, at_once: int
) -> list[list[str]]:
    """Give each job a thread per core of its own, unless the user said how many; say how they run.

    Threads of several jobs that compete for the same cores wait for each other most of the time.
    """
    first, cores = min(parts), launcher.cores
    if launcher.name.startswith("submitit"):
        print(f"What each job prints is in {launcher.folder}")
    count = f"{at_once} job{'s' * (at_once > 1)} at once"
    if _says_threads(asked[first], parts[first]):
        print(count)
        return asked
    threads = "one thread" if cores == 1 else f"{cores} threads"
    print(f"{count}, each with {threads} ({THREADS}={cores})")
    return [[*job, f"{THREADS}={cores}"] for job in asked]


def _says_threads(job: list[str], parts: Parts) -> bool:
    """Tell whether an override or an experiment chooses the number of threads."""
    option = compose([f"hardware={parts.choices['hardware']}"])["hardware"]
    return THREADS in split(job) or parts.hardware.threads != option["threads"]


def teachers_first(parts: dict[int, Parts]) -> list[int]:
    """Return job numbers in an order in which different teachers are trained side by side.

    The jobs of one teacher wait for the first of them to train it.
    """
    taken: dict[str, int] = {}
    rank = {}
    for number, made in sorted(parts.items()):
        teacher = json.dumps([made.config[key] for key in ("data", "teacher", "selection")])
        rank[number] = taken[teacher] = taken.get(teacher, -1) + 1
    return sorted(rank, key=lambda number: (rank[number], number))


def swept_keys(asked: list[list[str]]) -> list[str]:
    """Return the keys whose value differs between jobs, in order.

    >>> swept_keys([["seed=0", "regime.lr=1"], ["seed=0", "regime.lr=2"]])
    ['regime.lr']
    """
    values: dict[str, set[str]] = {}
    for overrides in asked:
        for key, value in split(overrides).items():
            values.setdefault(key, set()).add(value)
    return [key for key, seen in values.items() if len(seen) > 1]


def split(overrides: Sequence[str]) -> dict[str, str]:
    """Return overrides as key -> value."""
    return dict(split_override(text) for text in overrides)


def column(key: str) -> str:
    """Return the param of a job's run that holds a swept key.

    >>> column("architecture@student"), column("regime.lr")
    ('choices.architecture.student', 'regime.lr')
    """
    return f"choices.{key.replace('@', '.')}" if is_group(key.partition("@")[0]) else key


def _quoted(text: str) -> str:
    """Return a text as a value that Hydra takes as it is."""
    # Backslashes stand for themselves, but before a quote and at the end.
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + (found[2] and "\\'"), text)
    return f"'{escaped}'"


def _is_for_launcher(text: str) -> bool:
    return text.lstrip("+~").startswith(("hydra", "tracking"))


def _checked(asked: list[list[str]]) -> tuple[dict[int, Parts], dict[int, str]]:
    """Return the parts of the sound jobs and the problems of the others, by number."""
    parts: dict[int, Parts] = {}
    problems: dict[int, list[str]] = {}
    for number, overrides in enumerate(asked):
        try:
            made = checked(overrides)
            if made.search is not None:
                raise ConfigError([ALONE])
            parts[number] = made
        except ConfigError as error:
            problems[number] = error.problems
    if not parts:
        raise ConfigError(list(dict.fromkeys(p for found in problems.values() for p in found)))
    for number, found in problems.items():
        name = short_name(asked[number])
        print(f"Job {number} ({name}) cannot run:\n  " + "\n  ".join(found), file=sys.stderr)
    return parts, {number: " ".join(found) for number, found in problems.items()}


def _values(asked: list[list[str]], keys: list[str]) -> dict[str, str]:
    """Return the swept values of each key, joined by commas."""
    return {
        column(key): ", ".join(dict.fromkeys(split(overrides).get(key, "") for overrides in asked))
        for key in keys
    }
