"""The database of a study: how it is opened, its errors, and what a lost trial leaves in it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from distill_lab.errors import Refused, without_secret
from distill_lab.stopping import Stopping
from distill_lab.tracking.orphans import has_ended

HEARTBEAT_SECONDS = 60
GRACE_SECONDS = 300  # without a heartbeat; then the process is taken to be gone
LOCK_SECONDS = 60.0  # that SQLite waits for another process to have written
PROCESS, REASON = "process", "reason"
"""Of a trial: whose it is, and why it failed."""


def storage(url: str) -> RDBStorage:
    """Open the database; its tables are made if they are missing."""
    waits = {"connect_args": {"timeout": LOCK_SECONDS}} if url.startswith("sqlite") else {}
    return RDBStorage(
        url,
        engine_kwargs={**waits, "pool_pre_ping": True},
        heartbeat_interval=HEARTBEAT_SECONDS,
        grace_period=GRACE_SECONDS,
        heartbeat_stale_trial_callback=again,
    )


def again(study: optuna.Study, lost: FrozenTrial) -> None:
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


def is_lost(trial: FrozenTrial) -> bool:
    """Tell whether the process of a running trial has ended, or did before it gave its name."""
    process, begun = trial.user_attrs.get(PROCESS), trial.datetime_start
    if process is not None:
        return has_ended(process)
    return begun is not None and time.time() - begun.timestamp() > HEARTBEAT_SECONDS


def counts(trial: FrozenTrial) -> bool:
    """Tell whether a trial was begun and not lost."""
    if trial.state == TrialState.FAIL:
        return REASON in trial.user_attrs
    return trial.state != TrialState.WAITING


@contextmanager
def quiet() -> Iterator[None]:
    """Let Optuna not announce that heartbeats may change, and are meant for its own loop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", "Heartbeat of storage is supposed to be used")
        yield


@contextmanager
def database_errors() -> Iterator[None]:
    """Say of an error of the database whose it is; signals wait for what is done inside.

    Raises:
        Refused: in place of it.
    """
    try:
        with Stopping():
            yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise Refused(
            f"regime.search.storage: the study cannot be reached: {reason(error)}"
        ) from error


def reason(error: Exception) -> str:
    """Return what went wrong in one line, without passwords."""
    return without_secret(" ".join(str(error.__cause__ or error).split()))
