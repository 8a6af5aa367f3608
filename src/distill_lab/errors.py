"""Errors meant for the user: where, what is required, what was given, the nearest fix."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

OUT_OF_MEMORY = re.compile("out of memory|can't allocate memory|not enough memory", re.IGNORECASE)
"""In what torch says on a GPU and on a CPU; it has a class of its own for the first alone."""
ASKED_FOR = re.compile(r"[\d.]+ (?:bytes|[KMG]iB)")


class DistillLabError(Exception):
    """Base of all errors that are shown without a traceback."""


class ConfigError(DistillLabError):
    """The run was asked for wrongly; nothing was started.

    Args:
        problems: one sentence per problem, each naming its dotted key.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        noun = "problem" if len(problems) == 1 else "problems"
        super().__init__(f"The config has {len(problems)} {noun}:\n  " + "\n  ".join(problems))


class DataError(DistillLabError):
    """A dataset could not be had, or is not what its checksum says."""


class RunError(DistillLabError):
    """A run went wrong while working: it diverged, or an artifact is missing or altered."""


class Diverged(RunError):
    """The loss of a training is not finite; gone on with, it would only be so again."""


class Refused(RunError):
    """A store, a database, a disk or a folder could not be written or read: no run is at fault."""


class Pruned(DistillLabError):
    """A training was ended early, as others like it were better by then.

    Args:
        epoch: after which, counted from 1.
        num_epochs: that it would have had.
    """

    def __init__(self, epoch: int, num_epochs: int) -> None:
        self.after = f"epoch {epoch} of {num_epochs}"
        super().__init__(f"pruned after {self.after}")


@contextmanager
def told_of(where: str) -> Iterator[None]:
    """Say of what does not fit, and of memory that is not there, where that was.

    Args:
        where: named before the reason.

    Raises:
        RunError: in place of a ValueError, or of an error that says that there is no memory left.
    """
    try:
        yield
    except ValueError as error:
        raise RunError(f"{where}: {error}") from error
    except (RuntimeError, MemoryError) as error:
        hint = out_of_memory(error)
        if hint is None:
            raise
        raise RunError(f"{where}: {hint}") from error


def out_of_memory(error: BaseException) -> str | None:
    """Return what to do where an error says that there is no memory left; None: it does not."""
    text = str(error)
    if not isinstance(error, MemoryError) and not OUT_OF_MEMORY.search(text):
        return None
    asked = ASKED_FOR.search(text)
    wanted = f" ({asked[0]} more were asked for)" if asked else ""
    return (
        f"there is no memory left{wanted}. Lower regime.batch_size or selection.regime.batch_size; "
        "with as much more of accumulate_batches each step stays as it is. Or run fewer jobs at "
        "once, or take a smaller network."
    )


def without_secret(text: str) -> str:
    """Hide user and password of every address in a text, be it among the parameters.

    >>> without_secret("at postgresql://ann:pw@host/db?sslpassword=pw&sslmode=require")
    'at postgresql://***@host/db?sslpassword=***&sslmode=require'
    """
    text = re.sub(r"(?<=://)[^/\s]\S*@", "***@", text)
    return re.sub(r"([?&]\w*passw(?:or)?d=)[^&\s]*", r"\1***", text, flags=re.IGNORECASE)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the closest of `known`, or an empty string.

    >>> nearest("temprature", ["temperature", "teacher"])
    " Did you mean 'temperature'?"
    """
    given = str(name)
    scored = [(_likeness(given.lower(), one.lower()), _likeness(given, one), one) for one in known]
    likeness, _, closest = max(scored, default=(0.0, 0.0, ""))
    return f" Did you mean {closest!r}?" if likeness >= 0.5 else ""


def _likeness(first: str, second: str) -> float:
    return difflib.SequenceMatcher(None, second, first).ratio()
