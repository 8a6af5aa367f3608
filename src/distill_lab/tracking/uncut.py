"""Calls of a database that no signal cuts in two.

An exception that a signal raises inside of SQLAlchemy can leave the transaction open. SQLite then
refuses all that is written later, the end of the runs that were stopped too.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any

from mlflow import MlflowClient
from mlflow.utils.uri import is_http_uri

from distill_lab.stopping import Stopping


def uncut(uri: str) -> AbstractContextManager[Stopping | None]:
    """Return what signals wait for while a store is called.

    A server does not need it: a request is its own transaction there, and may wait for minutes.
    """
    return nullcontext() if is_http_uri(uri) else Stopping()


def client_of(uri: str) -> MlflowClient:
    """Return a client of a store; signals wait for its calls, see `uncut`."""
    return MlflowClient(uri) if is_http_uri(uri) else _UncutClient(uri)


class _UncutClient(MlflowClient):
    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        return value if name.startswith("_") or not callable(value) else _whole(value)


def _whole(call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def whole(*given: Any, **named: Any) -> Any:
        with Stopping():
            return call(*given, **named)

    return whole
