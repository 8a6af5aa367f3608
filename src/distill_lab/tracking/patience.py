"""A tracking server that is away: how long MLflow's client asks again, and who does not wait.

MLflow repeats a request that was not answered, or answered by a 5xx, with pauses that double:
0, 2, 4, ... 64, 120, 120, 120 seconds by what is set here, some eight minutes in all. A request
that arrived and whose answer was lost is sent twice; points of a metric are kept once all the same,
as MLflow takes equal ones (key, step, time, value) for one.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import requests
from mlflow.exceptions import MlflowException

RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
PAUSE_FACTOR = "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR"
TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
PATIENT = {RETRIES: "10", PAUSE_FACTOR: "1"}  # 10 is MLflow's limit
HURRIED = {RETRIES: "1", TIMEOUT: "30"}  # one, as a connection that was kept may have been closed
TOLD_SECONDS = 60.0  # between two words on it
ASKED_AGAIN = "Retrying"
"""What urllib3 begins with when it is going to pause and ask again."""


def be_patient() -> None:
    """Let MLflow's client outlast a restart of the server, unless the user said how long."""
    for name, value in PATIENT.items():
        os.environ.setdefault(name, value)
    logger = logging.getLogger("urllib3.connectionpool")
    if not any(isinstance(known, _Told) for known in logger.filters):
        logger.addFilter(_Told())


@contextmanager
def at_once() -> Iterator[None]:
    """Let requests inside fail soon: what asks can do without an answer, or has nobody to wait."""
    before = {name: os.environ.get(name) for name in HURRIED}
    os.environ.update(HURRIED)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def waiting_unless(hurried: bool) -> AbstractContextManager[None]:
    """Return `at_once` where there is a hurry, else what leaves requests as patient as they are."""
    return at_once() if hurried else nullcontext()


def is_away(error: BaseException) -> bool:
    """Tell whether a server did not answer, or only that it cannot."""
    cause = error.__cause__ or error.__context__
    return isinstance(error, MlflowException) and isinstance(cause, requests.RequestException)


def raise_if_away(error: BaseException) -> None:
    """Let an error pass that says nothing of what was asked for, but that nobody answered."""
    if is_away(error):
        raise error


def twice(download: Callable[..., str], **what: Any) -> str:
    """Do a download again that failed, as the server may have ended in the middle of it."""
    try:
        return str(download(**what))
    except (OSError, MlflowException) as error:
        raise_if_away(error)
        return str(download(**what))


class _Told(logging.Filter):
    """Says now and then that the server is asked again, in place of urllib3's words."""

    def __init__(self) -> None:
        super().__init__()
        self._last = -math.inf

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if not text.startswith(ASKED_AGAIN):
            return True
        waits = os.environ.get(RETRIES) != HURRIED[RETRIES]
        if waits and time.monotonic() - self._last > TOLD_SECONDS:
            self._last = time.monotonic()
            print("  tracking     the server does not answer; it is asked again", file=sys.stderr)
        return False
