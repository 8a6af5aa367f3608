"""A study that several processes work on: who asks gets a trial, and tells how it ended.

The study is in a database; nothing else is shared. A trial whose process ended without telling is
put back and counts as if it had not been begun: on this host its process is looked up, of other
hosts the trial's heartbeat has stopped.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import product
from threading import Event, Thread
from typing import Any

import optuna
from filelock import BaseFileLock
from optuna.storages import fail_stale_trials
from optuna.trial import FrozenTrial, Trial, TrialState

from distill_lab.config.space import Axis
from distill_lab.errors import ConfigError, without_secret
from distill_lab.search.database import (
    HEARTBEAT_SECONDS,
    PROCESS,
    REASON,
    again,
    counts,
    database_errors,
    is_lost,
    quiet,
    reason,
    storage,
)
from distill_lab.search.samplers import pruner, sampler, suggest
from distill_lab.settings import Search
from distill_lab.stopping import Stopping
from distill_lab.tracking.orphans import has_ended, this_process

ASKED, PARENT = "asked", "parent"
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
        self.axes = axes
        try:
            with lock, quiet(), Stopping():
                self._storage = storage(url)
                self._study = optuna.create_study(
                    storage=self._storage,
                    study_name=name,
                    pruner=pruner(search, num_epochs),
                    directions=[
                        "maximize" if one == QUALITY else "minimize" for one in search.objectives
                    ],
                    load_if_exists=True,
                )
        except Exception as error:  # of SQLAlchemy, of a driver, of a server, or of Optuna
            where, why = without_secret(repr(url)), reason(error)
            if isinstance(error, ImportError):
                why += "; for PostgreSQL: pip install 'psycopg[binary]'"
            raise ConfigError(
                [f"regime.search.storage: cannot keep a study at {where}: {why}"]
            ) from error
        with lock, quiet(), database_errors():
            self._require_same(asked)
            if search.sampler == "grid":
                self._queue_grid()

    @property
    def parent(self) -> str | None:
        """The MLflow run that the trials are below; None: there is none yet."""
        with database_errors():
            found = self._study.user_attrs.get(PARENT)
        return None if found is None else str(found)

    @parent.setter
    def parent(self, run_id: str) -> None:
        with database_errors():
            self._study.set_user_attr(PARENT, run_id)

    def ask(self) -> Trial | None:
        """Begin a trial, or return None: as many as were asked for are begun or done.

        Raises:
            Refused: the database is gone.
        """
        with self.lock, quiet(), database_errors():
            self._put_back_lost()
            trials = self._study.get_trials(deepcopy=False)
            most = self.search.num_trials
            if most is not None and sum(map(counts, trials)) >= most:
                return None
            waiting = any(trial.state == TrialState.WAITING for trial in trials)
            if self.search.sampler == "grid" and not waiting:
                return None
            trial = self._study.ask()
            trial.set_user_attr(PROCESS, this_process())
            place = self._place(trial)
            if most is not None and place >= most:  # another host's process was quicker
                self._put_back(trial.number)
                return None
            self._study.sampler = sampler(self.search, self.seed, place)
            for axis in self.axes:
                suggest(trial, axis)
            return trial

    @contextmanager
    def heartbeat(self, trial: Trial) -> Iterator[None]:
        """Say every minute that the trial is being worked on."""
        with database_errors():
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
            with quiet(), database_errors():
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
        with suppress(optuna.exceptions.UpdateFinishedTrialError), database_errors():
            trial.set_user_attr(REASON, reason)
        self._tell(trial, TrialState.FAIL)

    def put_back(self, trial: Trial) -> None:
        """Tell that a trial was stopped; the study goes on with it."""
        with self.lock, quiet(), database_errors():
            self._put_back(trial.number)

    def trials(self) -> list[Ended]:
        """Return the trials that were begun, without those that were put back.

        Raises:
            Refused: the database is gone.
        """
        with database_errors():
            found = self._study.get_trials(deepcopy=False)
        return [self._ended(trial) for trial in found if counts(trial)]

    def best(self) -> list[int]:
        """Return the numbers of the best trials: one, or those that no other beats in all aims."""
        if not any(trial.state == "COMPLETE" for trial in self.trials()):
            return []
        with database_errors():
            if len(self.search.objectives) > 1:
                return [trial.number for trial in self._study.best_trials]
            return [self._study.best_trial.number]

    def others(self) -> list[str]:
        """Return the processes that are at a trial of the study, this one left out."""
        with database_errors():
            running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        found = [str(trial.user_attrs.get(PROCESS, "")) for trial in running]
        return [one for one in found if one not in ("", this_process()) and not has_ended(one)]

    def importances(self) -> dict[str, dict[str, float]]:
        """Return the share of each objective's variance that each key explains.

        By functional ANOVA on a random forest (Hutter et al. 2014), over the complete trials; an
        objective that is the same in all of them, or known of fewer than four, is left out.
        """
        shares: dict[str, dict[str, float]] = {}
        with database_errors():
            done = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        for number, name in enumerate(self.search.objectives):

            def target(trial: FrozenTrial, number: int = number) -> float:
                return float(trial.values[number])

            if len(done) >= 4 and len(set(map(target, done))) > 1:
                evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
                shares[name] = optuna.importance.get_param_importances(
                    self._study, evaluator=evaluator, target=target
                )
        return shares

    def _tell(self, trial: Trial, state: TrialState, values: list[float] | None = None) -> None:
        """End a trial, unless it was given up for lost meanwhile."""
        with quiet(), database_errors():
            self._study.tell(trial, values, state, skip_if_finished=True)

    def _place(self, trial: Trial) -> int:
        """Return how many trials were begun before this one and not lost."""
        found = self._study.get_trials(deepcopy=False)
        return sum(counts(other) for other in found if other.number < trial.number)

    def _put_back_lost(self) -> None:
        """Put back the trials of processes that ended; the caller holds the lock."""
        fail_stale_trials(self._study)  # and puts them back, see `storage`
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if is_lost(trial):
                self._put_back(trial.number)

    def _put_back(self, number: int) -> None:
        ended = self._study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
        if ended.state == TrialState.FAIL:
            again(self._study, ended)

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

    def _queue_grid(self) -> None:
        """Queue all points of the grid, in an order drawn by the seed, that are not queued yet."""
        points = list(product(*(axis.points for axis in self.axes)))
        random.Random(self.seed).shuffle(points)
        number = sum("grid" in trial.user_attrs for trial in self._study.get_trials(deepcopy=False))
        for place, point in list(enumerate(points))[number:]:
            values = zip((axis.key for axis in self.axes), point, strict=True)
            self._study.enqueue_trial(dict(values), user_attrs={"grid": place})

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
