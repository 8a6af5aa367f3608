"""Jobs of a sweep in processes of their own: how they talk, and how they are stopped.

The sweep tells its jobs to stop through the store, wherever a launcher put them: they look at the
sweep's run every few seconds. A job that is stopped closes its runs, and those that still wait are
left out. SIGTERM from anybody else, as at a preemption, ends a job's process too, so that its
launcher has it done again; but for joblib's, as the death of one worker would end them all.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from threading import Event, Lock, Thread
from types import FrameType
from typing import TextIO

from distill_lab.stopping import Terminated, ended_by

LOST = """
A job's process died, so the others were ended. Is there memory for so many jobs at once? More for
each: {more}. Finished stages will be reused by the same command."""
SECONDS_TO_LOOK = 2.0  # between two looks at whether a job is to stop
SECONDS_TO_CLOSE = 15.0  # of a job's runs; then it is told again
QUIET = {"TQDM_DISABLE": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
"""Environment of a job: bars of several would overwrite each other."""
_at_work = False
Handler = Callable[[int, FrameType | None], None]


class Prefixed:
    """A text stream that puts a name before each line, and writes a line whole."""

    def __init__(self, name: str, stream: TextIO) -> None:
        self.name = name
        self.stream = stream
        self._open = ""

    def write(self, text: str) -> int:
        """Write the lines that are complete; empty ones are left out."""
        *lines, self._open = (self._open + text).split("\n")
        whole = [f"{self.name}: {line.strip()}\n" for line in lines if line.strip()]
        self.stream.write("".join(whole))
        self.flush()
        return len(text)

    def flush(self) -> None:
        """Hand on what is written."""
        self.stream.flush()


def be_quiet() -> None:
    """Keep third parties' warnings, which no user of ours can act on, out of the terminal."""
    warnings.filterwarnings(
        "ignore", module=r"(pytorch_lightning|lightning|torch|mlflow|torchmetrics)\b"
    )
    # mlflow.pytorch has all loggers tell of errors alone, when stage 6 of a first job imports it.
    logging.getLogger("distill_lab").setLevel(logging.WARNING)


def work(job: Callable[[], None], told: Callable[[], bool]) -> None:
    """Do a job in a process of its own, unless it is told to stop before.

    Args:
        job: closes its runs when `Terminated` is raised in it.
        told: whether it is to stop; asked in a thread of its own.

    Raises:
        Terminated: by somebody else than the sweep, and outside of joblib's pool.
    """
    global _at_work
    if told():
        return
    stopped, over, turn = Event(), Event(), Lock()
    watcher = Thread(target=_watch, args=(told, stopped, over, turn), daemon=True)
    _at_work = True
    be_quiet()
    with _handled(signal.SIG_IGN, signal.SIGINT, signal.SIGTERM):
        try:
            with ended_by(signal.SIGTERM):
                watcher.start()
                job()
        except Terminated:
            if not stopped.is_set() and multiprocessing.parent_process() is None:
                raise
        finally:
            with turn:  # not before a signal that is on its way has come, and was ignored
                over.set()
            _at_work = False


@contextmanager
def under_name(name: str) -> Iterator[None]:
    """Put a job's name before each line that is printed inside; without one in the main process."""
    if not _at_work:
        print(f"\n{name}")
        yield
        return
    with redirect_stdout(Prefixed(name, sys.stdout)):
        yield


@contextmanager
def stopped_with_this_process(tell: Callable[[], None]) -> Iterator[None]:
    """Launch jobs inside: at Ctrl-C and SIGTERM they are told to stop, and are waited for.

    The second Ctrl-C does not wait for them.

    Args:
        tell: has all jobs stop; called in a thread of its own.

    Raises:
        KeyboardInterrupt: after Ctrl-C.
        Terminated: after SIGTERM.
    """
    came: list[BaseException] = []

    def stop(number: int, frame: FrameType | None) -> None:
        reason = KeyboardInterrupt() if number == signal.SIGINT else Terminated("stopped")
        if came:
            raise reason
        came.append(reason)
        Thread(target=tell, daemon=True).start()

    with _handled(stop, signal.SIGINT, signal.SIGTERM), _quiet_jobs():
        try:
            yield
        except Exception:
            if not came:  # else it is what the launcher says of jobs that were told to end
                raise
    if came:
        raise came[0]


@contextmanager
def _quiet_jobs() -> Iterator[None]:
    """Set the environment that jobs of this host inherit."""
    before = dict(os.environ)
    os.environ.update(QUIET)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _watch(told: Callable[[], bool], stopped: Event, over: Event, turn: Lock) -> None:
    """Have the job end once it is told to, until it has: a library may swallow the exception.

    It may take long to ask whether it is, and the job may end meanwhile, which is not waited for.
    """
    while not over.wait(SECONDS_TO_CLOSE if stopped.is_set() else SECONDS_TO_LOOK):
        if stopped.is_set() or told():
            with turn:
                if not over.is_set():
                    stopped.set()
                    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _handled(handler: Handler | signal.Handlers, *numbers: int) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
