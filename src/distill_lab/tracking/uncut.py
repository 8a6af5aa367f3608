"""Calls of a database that no signal cuts in two.

An exception that a signal raises inside of SQLAlchemy can leave the transaction open. SQLite then
refuses all that is written later, the end of the runs that were stopped too.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any

from mlflow import MlflowClient
from mlflow.utils.uri import is_http_uri

from distill_lab.stopping import Stopping, raise_if_lost


def uncut(uri: str) -> AbstractContextManager[object]:
    """Return what signals wait for while a store is called.

    A server does not need it: a request is its own transaction there, and may wait for minutes.
    """
    if is_http_uri(uri):
        raise_if_lost()
        return nullcontext()
    return Stopping()


class Client(MlflowClient):
    """A client of a store; its calls are `uncut`."""

    def __init__(self, uri: str) -> None:
        self._store = uri
        super().__init__(uri)

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name.startswith("_") or not callable(value):
            return value

        @wraps(value)
        def whole(*given: Any, **named: Any) -> Any:
            with uncut(self._store):
                return value(*given, **named)

        return whole
