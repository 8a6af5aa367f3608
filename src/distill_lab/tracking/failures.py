"""What a store, a disk or a folder refuses, in one sentence."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from distill_lab.errors import Refused, without_secret

REFUSED = (OSError, MlflowException, SQLAlchemyError)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
NO_ROOM = ("disk is full", "disk I/O error", "No space left")
"""What SQLite, and others that wrap it, say of a full disk."""
GO_ON = "finished stages will be reused by the same command."


@contextmanager
def refusals_told() -> Iterator[None]:
    """Turn what was refused into an error that says what to do.

    Raises:
        Refused: something could not be written or read.
    """
    try:
        yield
    except BrokenPipeError:  # of whoever reads what is printed
        raise
    except REFUSED as error:
        what = without_secret(" ".join(str(error).split()))
        raise Refused(f"{what}. {_advice(error, what)}") from error


def advice_on_access(what: str) -> str:
    """Return, where a server did not admit the user or its own name, what to do; else nothing."""
    if "Invalid Host header" in what:
        return (
            " Start the server with the name that it is called by, e.g. distill-lab server "
            "--host 0.0.0.0 --allowed-hosts 'node1:*,127.0.0.1:*'."
        )
    if "error code 401" in what:
        return (
            " Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or write both into "
            "~/.mlflow/credentials."
        )
    return ""


def _advice(error: BaseException, what: str) -> str:
    access = advice_on_access(what)
    number = error.errno if isinstance(error, OSError) else None
    if number in FULL or any(words in what for words in NO_ROOM):
        return f"Is there room on the disk? Make some; {GO_ON}"
    if number in READ_ONLY or "readonly database" in what or "Read-only file system" in what:
        return f"Give leave to write there, or name another place in tracking; {GO_ON}"
    return f"{access} When that is mended, {GO_ON}".lstrip()
