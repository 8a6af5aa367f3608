"""`distill-lab server`: MLflow's own server on a PostgreSQL, both in one folder, till Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from distill_lab.errors import ConfigError, RunError
from distill_lab.tracking import postgres

HOST, PORT = "127.0.0.1", 5001  # not MLflow's 5000, where `distill-lab ui` is
FOLDER = Path("mlflow-server")
START_SECONDS = 300.0  # at most; the tables are made at the first start
STOP_SECONDS = 20.0  # for answers that are under way
LOG_LINES = 15  # shown of a program that did not start
LOGIN = """[mlflow]
default_permission = READ
database_uri = sqlite:///basic_auth.db
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
"""
"""MLflow's own settings, of which but the last are its defaults."""
LOGS = ("mlflow.log", "postgres.log")


@dataclass
class Asked:
    """What was asked for.

    Attributes:
        folder: of the database, the artifacts and the logs.
        host: where MLflow listens.
        port: likewise.
        options: further ones, of `mlflow server`.
    """

    folder: Path = FOLDER
    host: str = HOST
    port: int = PORT
    options: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Where it is reached from here."""
        return f"http://{HOST if self.host == '0.0.0.0' else self.host}:{self.port}"


def asked(words: Sequence[str]) -> Asked:
    """Read the command line; what is not ours is MLflow's.

    Raises:
        ConfigError: a value is missing, or the port is none.
    """
    found, left = Asked(), [part for word in words for part in _parted(word)]
    while left:
        word = left.pop(0)
        if word not in ("--folder", "--host", "--port"):
            found.options.append(word)
            continue
        if not left:
            raise ConfigError([f"server: {word} needs a value."])
        value = left.pop(0)
        if word == "--folder":
            found.folder = Path(value)
        elif word == "--host":
            found.host = value
        elif value.isdecimal() and 0 < int(value) < 2**16:
            found.port = int(value)
        else:
            raise ConfigError([f"server: --port: must be in 1..65535, got {value!r}."])
    return found


def _parted(word: str) -> list[str]:
    name, given, value = word.partition("=")
    return [name, value] if given and name.startswith("--") else [word]


def serve(request: Asked) -> None:
    """Serve until this process is told to stop.

    Raises:
        ConfigError: something is not installed, the port or the folder is taken.
        RunError: PostgreSQL or MLflow did not start, or ended.
        KeyboardInterrupt: after Ctrl-C, when both are stopped.
    """
    folder = request.folder.resolve()
    _require_port(request)
    postgres.programs()
    with ExitStack() as stack:
        stack.enter_context(_only_one(folder))
        for name in LOGS:
            (folder / name).touch(mode=0o600)
        logs = [stack.enter_context((folder / name).open("ab")) for name in LOGS]
        stack.enter_context(_logs_told(folder))
        database = stack.enter_context(postgres.running(folder, logs[1]))
        server = stack.enter_context(_mlflow(request, folder, logs[0]))
        _wait(server, request)
        print(
            f"\nTracking server  {request.address}\nData and logs    {folder}\n"
            f"Runs             distill-lab tracking=server tracking.uri={request.address}\n"
            f"Studies          regime.search.storage={postgres.address(folder, 'search')!r}\n"
            "Ctrl-C stops it; started again in this folder it goes on.",
            flush=True,
        )
        _watch({"PostgreSQL": database, "MLflow's server": server})


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Keep the folder; through one that is made here others may go, as the database's owner must.

    One that was there, as the working directory may be, stays as open as it is.
    """
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True)
            folder.chmod(0o711)
        lock = FileLock(folder / "server.lock", timeout=0).acquire()
    except Timeout as error:
        raise ConfigError([f"server: --folder {folder}: a server is running in it."]) from error
    except OSError as error:
        raise ConfigError([f"server: --folder {folder}: {error.strerror}."]) from error
    with lock:
        yield


def _require_port(request: Asked) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that has just ended
        try:
            probe.bind((request.host, request.port))
        except OSError as error:
            raise ConfigError(
                [
                    f"server: {request.host}:{request.port}: {error.strerror}. End what is there, "
                    "or give another --port."
                ]
            ) from error


@contextmanager
def _mlflow(request: Asked, folder: Path, log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    artifacts = folder / "artifacts"
    artifacts.mkdir(mode=0o700, exist_ok=True)
    words = ["--backend-store-uri", postgres.address(folder, "mlflow")]
    words += ["--artifacts-destination", str(artifacts)]
    words += ["--host", request.host, "--port", str(request.port)]
    if not {"--workers", "-w"} & set(request.options):
        words += ["--workers", "2"]  # each is a process that takes hundreds of MB
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # a dozen processes less
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *words, *request.options],
        stdout=log,
        stderr=log,
        cwd=folder,  # where MLflow's own login keeps its users
        env={**quiet, **_login(folder), **os.environ},
        umask=0o077,  # what the folder's other users need not read
        start_new_session=True,  # Ctrl-C is for this process, which stops its workers with it
    )
    try:
        yield process
    finally:
        _stop(process)


def _login(folder: Path) -> dict[str, str]:
    """Return what MLflow's login, if it is asked for, is told: to hash a password once a minute.

    Else it does for each request, of which a workflow makes hundreds; that takes longer than all
    the rest of them. A file that is there may have been edited, and is left as it is.
    """
    path = folder / "basic_auth.ini"
    if not path.exists():
        path.write_text(LOGIN)
    return {"MLFLOW_AUTH_CONFIG_PATH": str(path)}


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            return
        except BaseException:  # a second Ctrl-C: not waited for, yet not left behind
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise


def _wait(server: subprocess.Popen[bytes], request: Asked) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever http_proxy is
    limit = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < limit:
        try:
            with direct.open(f"{request.address}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RunError("server: MLflow did not start")


def _watch(processes: dict[str, subprocess.Popen[bytes]]) -> None:
    while True:
        for name, process in processes.items():
            if process.poll() is not None:
                raise RunError(f"server: {name} ended with {process.returncode}")
        time.sleep(0.5)


@contextmanager
def _logs_told(folder: Path) -> Iterator[None]:
    """Say what the programs said last, of whichever spoke last."""
    try:
        yield
    except RunError as error:
        newest = max((folder / name for name in LOGS), key=lambda path: path.stat().st_mtime)
        last = newest.read_text(errors="replace").splitlines()[-LOG_LINES:]
        raise RunError(f"{error}. The end of {newest}:\n  " + "\n  ".join(last)) from error
