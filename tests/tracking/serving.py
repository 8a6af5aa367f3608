"""A tracking server of the tests, on PostgreSQL, that can be stopped and started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from distill_lab.errors import ConfigError
from distill_lab.tracking.postgres import programs

ROOT = Path(__file__).parents[2]
START_SECONDS = 300


def require_postgres() -> None:
    """Skip without PostgreSQL and its driver; where all is to be tested, fail."""
    try:
        programs()
    except ConfigError as error:
        pytest.fail(str(error)) if os.environ.get("CI") else pytest.skip(str(error))


def require_login() -> None:
    """Likewise without what MLflow's login needs."""
    if find_spec("flask_wtf") is None:
        reason = "Flask-WTF is not installed: pip install 'mlflow[auth]'"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


@contextmanager
def a_folder() -> Iterator[Path]:
    """A folder that root's PostgreSQL can enter, as pytest's own cannot be."""
    folder = Path(tempfile.mkdtemp(prefix="distill-lab-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


class Server:
    """`distill-lab server` in a folder."""

    def __init__(self, folder: Path, *options: str, **environment: str) -> None:
        self.folder = folder / "server"
        self.log = folder / "server.log"
        self.options = options
        self.environment = environment
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        words = ["server", "--folder", str(self.folder), "--port", str(self.port), *self.options]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "distill_lab", *words],
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=log,
            )
        limit = time.monotonic() + START_SECONDS
        while "Ctrl-C stops it" not in self.log.read_text():
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < limit
            time.sleep(0.2)

    def stop(self, number: int = signal.SIGINT) -> int:
        """Stop it as Ctrl-C does; return its exit code."""
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.send_signal(number)
        return process.wait(60)


@contextmanager
def served(*options: str, **environment: str) -> Iterator[Server]:
    """A server that answers, in a folder of its own that is deleted with it."""
    require_postgres()
    with a_folder() as folder:
        server = Server(folder, *options, **environment)
        server.start()
        try:
            yield server
        finally:
            server.stop()
