"""The file of a store that is a SQLite database."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock
from mlflow import MlflowClient

PREFIX = "sqlite:///"


def file_of(uri: str) -> Path | None:
    """Return the file of a SQLite store, None for any other."""
    path = uri.removeprefix(PREFIX)
    return Path(path) if uri.startswith(PREFIX) and path else None


def absolute(uri: str) -> str:
    """Return a relative SQLite path as an absolute one: MLflow remembers stores by their URI."""
    file = file_of(uri)
    return uri if file is None else f"{PREFIX}{file.resolve()}"


def make(path: Path) -> None:
    """Make a new SQLite store whole or not at all, also when two processes want one at once."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"), TemporaryDirectory(dir=path.parent) as scratch:
        if not path.exists():
            made = Path(scratch) / path.name
            MlflowClient(tracking_uri=f"{PREFIX}{made}").search_experiments()
            os.replace(made, path)
