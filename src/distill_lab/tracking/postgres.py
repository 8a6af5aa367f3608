"""A PostgreSQL of one's own in a folder, with Debian's or anybody's programs, reached by a socket.

It listens on no network. Whoever may enter the folder of its socket is let in, and that is its
owner alone.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from distill_lab.errors import ConfigError, RunError

DEBIAN = Path("/usr/lib/postgresql")
OWNER = "postgres"  # user of the database, and of the system where root may not be it
DATABASES = ("mlflow", "search")
"""One for the tracking server, one for studies of Optuna."""
MAX_SOCKET = 107 - len("/.s.PGSQL.5432.lock")  # bytes of its folder's path; a limit of the system
START_SECONDS = 60.0
PROGRAM, INIT = "postgres", "initdb"


def programs() -> Path:
    """Return the folder of PostgreSQL's programs; of several versions the newest.

    Raises:
        ConfigError: they, or Python's driver, are not installed.
    """
    if find_spec("psycopg") is None:
        raise ConfigError(["server: needs psycopg: pip install 'distill-lab[postgres]'."])
    installed = [path for path in DEBIAN.glob("*/bin") if (path / INIT).is_file()]
    found = max(installed, key=lambda path: float(path.parent.name), default=None)
    elsewhere = shutil.which(INIT)
    if found is None and elsewhere is not None:
        found = Path(elsewhere).resolve().parent
    if found is None:
        raise ConfigError(
            ["server: PostgreSQL is not installed. Try sudo apt-get install postgresql."]
        )
    return found


@contextmanager
def running(folder: Path, log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Run the database that lies in a folder; made if it is not there, stopped at the end.

    Args:
        folder: of `database` and `socket`; it exists.
        log: for what PostgreSQL says.

    Raises:
        ConfigError: there is no PostgreSQL, or it cannot be in this folder.
        RunError: it did not start.
    """
    where, socket = programs(), folder / "socket"
    if len(os.fsencode(socket)) > MAX_SOCKET:
        raise ConfigError([f"server: --folder {folder}: too long a path for a socket; shorten it."])
    owner = OWNER if os.geteuid() == 0 else None
    _require_way(folder, owner)
    data = folder / "database"
    if not data.exists():
        _make(where, data, owner, log)
    _end_orphan(where, data, owner)
    _own_folder(socket, owner)
    settings = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={socket}"]
    process = subprocess.Popen(
        [str(where / PROGRAM), "-D", str(data), *settings],
        stdout=log,
        stderr=log,
        cwd=socket,
        env=_environment(),
        user=owner,
        group=owner,
        start_new_session=True,  # Ctrl-C is for who started it, and stops it last
    )
    try:
        _require_databases(process, socket)
        yield process
    finally:
        process.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
        process.wait()


def address(folder: Path, database: str) -> str:
    """Return the address of a database, for SQLAlchemy; it has no password.

    >>> address(Path("/srv/lab"), "search")
    'postgresql+psycopg://postgres@/search?host=/srv/lab/socket'
    """
    return f"postgresql+psycopg://{OWNER}@/{database}?host={folder / 'socket'}"


def _require_way(folder: Path, owner: str | None) -> None:
    """Check that the owner of the database can enter the folder, as root's own may be closed."""
    if owner is None:
        return
    try:
        enter = ["/bin/sh", "-c", 'cd "$0" 2>/dev/null', str(folder)]
        way = subprocess.run(enter, user=owner, cwd="/", check=False)
    except KeyError as error:
        raise ConfigError([f"server: there is no user {owner}, and root may not be it."]) from error
    if way.returncode:
        raise ConfigError(
            [
                f"server: --folder {folder}: PostgreSQL does not run as root, and the user {owner} "
                "cannot enter this folder. Give one that it can, e.g. --folder /srv/mlflow-server."
            ]
        )


def _make(where: Path, data: Path, owner: str | None, log: IO[bytes]) -> None:
    """Make a database whole or not at all."""
    scratch = data.with_name("database.new")
    shutil.rmtree(scratch, ignore_errors=True)  # left by one that was killed
    _own_folder(scratch, owner)
    told = ["--auth=trust", "--encoding=UTF8", "--no-locale", f"--username={OWNER}"]
    made = subprocess.run(
        [str(where / INIT), "-D", str(scratch), *told],
        stdout=log,
        stderr=log,
        cwd=scratch,
        env=_environment(),
        user=owner,
        group=owner,
        check=False,
    )
    if made.returncode:
        raise RunError(f"server: {INIT} could not make {data}")
    scratch.rename(data)


def _own_folder(path: Path, owner: str | None) -> None:
    path.mkdir(mode=0o700, exist_ok=True)
    if owner is not None:
        shutil.chown(path, owner, owner)


def _environment() -> dict[str, str]:
    """Return what the database's programs are told: nothing that is MLflow's, as passwords are."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}


def _end_orphan(where: Path, data: Path, owner: str | None) -> None:
    """End the database of a server that was killed outright; none other runs in this folder."""
    if _runs(data):
        words = [str(where / "pg_ctl"), "stop", "-s", "-m", "fast", "-D", str(data)]
        subprocess.run(
            words,
            stderr=subprocess.DEVNULL,
            cwd=data,
            env=_environment(),
            user=owner,
            check=False,
        )


def _runs(data: Path) -> bool:
    """Whether a database runs in its folder, and not a stranger that has the number it once had."""
    try:
        number = int((data / "postmaster.pid").read_text().splitlines()[0])
        process = Path("/proc", str(number))
        program, folder = (process / name for name in ("exe", "cwd"))
        return program.readlink().name == PROGRAM and folder.readlink() == data.resolve()
    except (OSError, ValueError, IndexError):  # no such file, or no such process
        return False


def _require_databases(process: subprocess.Popen[bytes], socket: Path) -> None:
    import psycopg  # an extra of the package

    limit = time.monotonic() + START_SECONDS
    while True:
        try:
            with psycopg.connect(
                host=str(socket), user=OWNER, dbname="postgres", autocommit=True
            ) as connection:
                known = connection.execute("SELECT datname FROM pg_database").fetchall()
                for name in DATABASES:
                    if (name,) not in known:
                        connection.execute(f"CREATE DATABASE {name}")
            return
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > limit:
                raise RunError("server: PostgreSQL did not start") from error
            time.sleep(0.1)
