"""A study that several processes work on: who asks gets a trial, and tells how it ended.

The study is in a database; nothing else is shared. A trial whose process ended without telling is
put back and counts as if it had not been begun: on this host its process is looked up, of other
hosts the trial's heartbeat has stopped.
"""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import product
from threading import Event, Thread
from typing import Any

import optuna
from filelock import BaseFileLock
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from distill_lab.config.space import Axis, Choices
from distill_lab.errors import ConfigError, RunError, without_secret
from distill_lab.settings import Search
from distill_lab.tracking.orphans import has_ended, this_process

HEARTBEAT_SECONDS = 60
GRACE_SECONDS = 300  # without a heartbeat; then the process is taken to be gone
LOCK_SECONDS = 60.0  # that SQLite waits for another process to have written
ASKED, PARENT = "asked", "parent"
PROCESS, REASON = "process", "reason"
QUALITY = "quality"


@dataclass(frozen=True)
class Ended:
    """A trial of the study as it stands.

    Attributes:
        number: counted from 0, over all that were begun.
        state: COMPLETE, PRUNED, FAILED or RUNNING.
        values: key -> value, as it is written in an override or a number.
        objectives: name -> value; of a pruned trial its last quality; empty: it has none.
        epochs: after which it was pruned; None where it was not watched.
        reason: why it failed.
    """

    number: int
    state: str
    values: dict[str, str | float]
    objectives: dict[str, float]
    epochs: int | None
    reason: str


class Study:
    """One study, as one process sees it.

    Args:
        name: of the study in its database.
        url: of the database.
        search: what was asked for.
        axes: its space.
        asked: what makes it this study and no other, as plain values.
        num_epochs: of the longest trial.
        seed: from which the sampler's random numbers are made, for each trial anew, so that a study
            that is gone on with is what it would have been.
        lock: shared by the processes of this host.

    Raises:
        ConfigError: there is no such database, or its study of that name is another one.
    """

    def __init__(
        self,
        name: str,
        url: str,
        search: Search,
        axes: list[Axis],
        asked: dict[str, Any],
        num_epochs: int,
        seed: int,
        lock: BaseFileLock,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.name = name
        self.search = search
        self.seed = seed
        self.lock = lock
        self.space = {axis.key: distribution(axis) for axis in axes}
        try:
            with lock, _quiet():
                self._storage = _storage(url)
                self._study = optuna.create_study(
                    storage=self._storage,
                    study_name=name,
                    pruner=_pruner(search, num_epochs),
                    directions=[
                        "maximize" if one == QUALITY else "minimize" for one in search.objectives
                    ],
                    load_if_exists=True,
                )
                self._require_same(asked)
                if search.sampler == "grid":
                    self._queue_grid(axes)
        except ConfigError:
            raise
        except Exception as error:  # of SQLAlchemy, of a driver, of a server, or of Optuna
            where, reason = without_secret(repr(url)), _reason(error)
            if isinstance(error, ImportError):
                reason += "; for PostgreSQL: pip install 'psycopg[binary]'"
            raise ConfigError(
                [f"regime.search.storage: cannot keep a study at {where}: {reason}"]
            ) from error

    @property
    def parent(self) -> str | None:
        """The MLflow run that the trials are below; None: there is none yet."""
        found = self._study.user_attrs.get(PARENT)
        return None if found is None else str(found)

    @parent.setter
    def parent(self, run_id: str) -> None:
        self._study.set_user_attr(PARENT, run_id)

    def ask(self) -> Trial | None:
        """Begin a trial, or return None: as many as were asked for are begun or done.

        Raises:
            RunError: the database is gone.
        """
        with self.lock, _quiet(), _database_errors():
            self._put_back_lost()
            trials = self._study.get_trials(deepcopy=False)
            most = self.search.num_trials
            if most is not None and sum(map(_counts, trials)) >= most:
                return None
            waiting = any(trial.state == TrialState.WAITING for trial in trials)
            if self.search.sampler == "grid" and not waiting:
                return None
            self._study.sampler = _sampler(self.search, _drawn(self.seed, len(trials)))
            trial = self._study.ask(self.space)
            trial.set_user_attr(PROCESS, this_process())
            return trial

    @contextmanager
    def heartbeat(self, trial: Trial) -> Iterator[None]:
        """Say every minute that the trial is being worked on."""
        study_id = self._storage.get_study_id_from_name(self.name)
        own_id = self._storage.get_trial_id_from_study_id_trial_number(study_id, trial.number)
        over = Event()

        def beat() -> None:
            while True:
                try:
                    self._storage.record_heartbeat(own_id)
                except Exception as error:  # a database that is away may come back
                    missed.append(error)
                if over.wait(HEARTBEAT_SECONDS):
                    return

        missed: list[Exception] = []
        thread = Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def is_behind(self, trial: Trial, epoch: int, quality: float) -> bool:
        """Report an epoch, and tell whether the pruner gives the trial up."""
        try:
            with _quiet(), _database_errors():
                trial.report(quality, epoch)
                return trial.should_prune()
        except optuna.exceptions.UpdateFinishedTrialError:
            return False  # it was taken for lost, and another process may be waiting for its stages

    def complete(self, trial: Trial, values: list[float]) -> None:
        """Tell what a trial reached, in the order of the objectives."""
        self._tell(trial, TrialState.COMPLETE, values)

    def prune(self, trial: Trial) -> None:
        """Tell that a trial was given up."""
        self._tell(trial, TrialState.PRUNED)

    def fail(self, trial: Trial, reason: str) -> None:
        """Tell that a trial cannot be done; it counts as one."""
        with suppress(optuna.exceptions.UpdateFinishedTrialError), _database_errors():
            trial.set_user_attr(REASON, reason)
        self._tell(trial, TrialState.FAIL)

    def put_back(self, trial: Trial) -> None:
        """Tell that a trial was stopped; the study goes on with it."""
        with self.lock, _quiet(), _database_errors():
            self._put_back(trial.number)

    def trials(self) -> list[Ended]:
        """Return the trials that were begun, without those that were put back.

        Raises:
            RunError: the database is gone.
        """
        with _database_errors():
            found = self._study.get_trials(deepcopy=False)
        return [self._ended(trial) for trial in found if _counts(trial)]

    def best(self) -> list[int]:
        """Return the numbers of the best trials: one, or those that no other beats in all aims."""
        if not any(trial.state == "COMPLETE" for trial in self.trials()):
            return []
        if len(self.search.objectives) > 1:
            return [trial.number for trial in self._study.best_trials]
        return [self._study.best_trial.number]

    def others(self) -> list[str]:
        """Return the processes that are at a trial of the study, this one left out."""
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        found = [str(trial.user_attrs.get(PROCESS, "")) for trial in running]
        return [one for one in found if one not in ("", this_process()) and not has_ended(one)]

    def importances(self) -> dict[str, dict[str, float]]:
        """Return the share of each objective's variance that each key explains.

        By functional ANOVA on a random forest (Hutter et al. 2014), over the complete trials; an
        objective that is the same in all of them, or known of fewer than four, is left out.
        """
        shares = {}
        for number, name in enumerate(self.search.objectives):
            done = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            seen = {trial.values[number] for trial in done}
            if len(done) >= 4 and len(seen) > 1:
                evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
                shares[name] = optuna.importance.get_param_importances(
                    self._study, evaluator=evaluator, target=lambda trial, n=number: trial.values[n]
                )
        return shares

    def _tell(self, trial: Trial, state: TrialState, values: list[float] | None = None) -> None:
        """End a trial, unless it was given up for lost meanwhile."""
        with _quiet(), _database_errors():
            self._study.tell(trial, values, state, skip_if_finished=True)

    def _put_back_lost(self) -> None:
        """Put back the trials of processes that ended; the caller holds the lock."""
        fail_stale_trials(self._study)  # and puts them back, see `_storage`
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if _is_lost(trial):
                self._put_back(trial.number)

    def _put_back(self, number: int) -> None:
        ended = self._study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
        if ended.state == TrialState.FAIL:
            _again(self._study, ended)

    def _require_same(self, asked: dict[str, Any]) -> None:
        known = self._study.user_attrs.get(ASKED)
        if known is None:
            self._study.set_user_attr(ASKED, asked)
            return
        other = [key for key in asked if known.get(key) != asked[key]]
        if other:
            raise ConfigError(
                [
                    f"regime.search.study: {self.name!r} is a study with another "
                    f"{' and another '.join(other)}; choose another name, or null."
                ]
            )

    def _queue_grid(self, axes: list[Axis]) -> None:
        """Queue all points of the grid, in an order drawn by the seed, that are not queued yet."""
        points = list(product(*(axis.points for axis in axes)))
        random.Random(self.seed).shuffle(points)
        number = sum("grid" in trial.user_attrs for trial in self._study.get_trials(deepcopy=False))
        for place, point in list(enumerate(points))[number:]:
            values = dict(zip(self.space, point, strict=True))
            self._study.enqueue_trial(values, user_attrs={"grid": place})

    def _ended(self, trial: FrozenTrial) -> Ended:
        values = trial.values or []
        state = "FAILED" if trial.state == TrialState.FAIL else trial.state.name
        return Ended(
            trial.number,
            state,
            dict(trial.params),
            dict(zip(self.search.objectives, values, strict=False)),
            trial.last_step,
            str(trial.user_attrs.get(REASON, "")),
        )


def distribution(axis: Axis) -> BaseDistribution:
    """Return what Optuna calls an axis; a step that does not lead to `high` ends below it."""
    if isinstance(axis, Choices):
        return CategoricalDistribution(axis.values)
    high = axis.high if axis.step is None else axis.points[-1]
    if axis.whole:
        return IntDistribution(int(axis.low), int(high), axis.log, int(axis.step or 1))
    return FloatDistribution(axis.low, high, axis.log, axis.step)


def _storage(url: str) -> RDBStorage:
    """Open the database; its tables are made if they are missing."""
    waits = {"connect_args": {"timeout": LOCK_SECONDS}} if url.startswith("sqlite") else {}
    return RDBStorage(
        url,
        engine_kwargs={**waits, "pool_pre_ping": True},
        heartbeat_interval=HEARTBEAT_SECONDS,
        grace_period=GRACE_SECONDS,
        heartbeat_stale_trial_callback=_again,
    )


def _again(study: optuna.Study, lost: FrozenTrial) -> None:
    """Queue the values of a trial that was lost, and what its sampler noted about it."""
    place = {key: value for key, value in lost.user_attrs.items() if key == "grid"}
    study.add_trial(
        create_trial(
            state=TrialState.WAITING,
            params=lost.params,
            distributions=lost.distributions,
            user_attrs=place,
            system_attrs=lost.system_attrs,
        )
    )


def _is_lost(trial: FrozenTrial) -> bool:
    """Tell whether the process of a running trial has ended, or did before it gave its name."""
    process, begun = trial.user_attrs.get(PROCESS), trial.datetime_start
    if process is not None:
        return has_ended(process)
    return begun is not None and time.time() - begun.timestamp() > HEARTBEAT_SECONDS


def _counts(trial: FrozenTrial) -> bool:
    """Tell whether a trial was begun and not lost."""
    if trial.state == TrialState.FAIL:
        return REASON in trial.user_attrs
    return trial.state != TrialState.WAITING


def _drawn(seed: int, number: int) -> int:
    """Return a seed for one trial; neighbours have nothing in common."""
    return random.Random(f"{seed}/{number}").getrandbits(32)


def _sampler(search: Search, seed: int) -> optuna.samplers.BaseSampler:
    if search.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=seed)
    if search.sampler == "cma_es":
        return optuna.samplers.CmaEsSampler(seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)  # the points of a grid are queued


def _pruner(search: Search, num_epochs: int) -> optuna.pruners.BasePruner:
    first = search.prune_from_epoch
    if search.pruner == "median":
        return optuna.pruners.MedianPruner(search.prune_from_trial, n_warmup_steps=first)
    if search.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(first, max(first, num_epochs), reduction_factor=3)
    return optuna.pruners.NopPruner()


@contextmanager
def _quiet() -> Iterator[None]:
    """Let Optuna not announce that heartbeats may change, and are meant for its own loop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", "Heartbeat of storage is supposed to be used")
        yield


@contextmanager
def _database_errors() -> Iterator[None]:
    """Say of an error of the database whose it is.

    Raises:
        RunError: in place of it.
    """
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise RunError(
            f"regime.search.storage: the study cannot be reached: {_reason(error)}"
        ) from error


def _reason(error: Exception) -> str:
    return without_secret(" ".join(str(error.__cause__ or error).split()))
