"""Jobs of a sweep side by side, each in a worker process: how they talk, and how they are stopped.

A worker is told to stop by SIGTERM alone, and by the sweep alone. It then closes its runs, and
leaves out every job that still waits. If it died instead, joblib would kill the others at once.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager, redirect_stdout
from threading import Event, Thread
from types import FrameType
from typing import TextIO

DIED = """
A worker process died, so the others were ended. Is there memory for so many jobs at once? Fewer:
hydra.launcher.n_jobs=2. Finished stages will be reused by the same command."""
SECONDS_TO_CLOSE = 15.0  # of a worker's runs; then it is told again
_STOP = Event()  # set in a worker that was told to stop
Handler = Callable[[int, FrameType | None], None]


class Terminated(SystemExit):
    """The program was told to end, by SIGTERM; its open runs end as killed."""


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


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Turn SIGTERM into an exception; Lightning, which has a handler of its own, calls it too."""
    with _handled(_terminate, signal.SIGTERM):
        yield


def be_quiet() -> None:
    """Keep third parties' warnings, which no user of ours can act on, out of the terminal."""
    warnings.filterwarnings(
        "ignore", module=r"(pytorch_lightning|lightning|torch|mlflow|torchmetrics)\b"
    )
    # mlflow.pytorch has all loggers tell of errors alone, when stage 6 of a first job imports it.
    logging.getLogger("distill_lab").setLevel(logging.WARNING)


def in_worker() -> bool:
    """Tell whether this process is a worker of a sweep."""
    return multiprocessing.parent_process() is not None


def work(job: Callable[[], None]) -> None:
    """Do a job in a worker, unless it was told to stop in an earlier one.

    Args:
        job: closes its runs when `Terminated` is raised in it.
    """
    if _STOP.is_set():
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal
    signal.signal(signal.SIGTERM, _end_job)
    be_quiet()
    try:
        job()
    except Terminated:
        pass
    finally:
        signal.signal(signal.SIGTERM, _stop_working)


@contextmanager
def under_name(name: str) -> Iterator[None]:
    """Put a job's name before each line that is printed inside; without one in the main process."""
    if not in_worker():
        print(f"\n{name}")
        yield
        return
    with redirect_stdout(Prefixed(name, sys.stdout)):
        yield


@contextmanager
def stopped_with_this_process() -> Iterator[None]:
    """Launch workers inside: Ctrl-C and SIGTERM stop them first, and none stays behind.

    The second Ctrl-C does not wait for them. Where a worker dies by itself, which ends the others,
    this says so; the jobs that are not finished count as failed.

    Raises:
        KeyboardInterrupt: after Ctrl-C.
        Terminated: after SIGTERM.
    """
    told: list[BaseException] = []
    over = Event()

    def stop(number: int, frame: FrameType | None) -> None:
        reason = KeyboardInterrupt() if number == signal.SIGINT else Terminated("stopped")
        if told:
            raise reason
        told.append(reason)
        Thread(target=_stop_workers, args=(over,), daemon=True).start()

    try:
        with _handled(stop, signal.SIGINT, signal.SIGTERM), _without_bars():
            yield
    except BrokenExecutor:
        if not told:
            print(DIED, file=sys.stderr)
    finally:
        over.set()
        _end_workers()
    if told:
        raise told[0]


@contextmanager
def _without_bars() -> Iterator[None]:
    """Switch progress bars off in the workers, which would overwrite each other's."""
    before = dict(os.environ)
    os.environ["TQDM_DISABLE"] = "1"
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _end_workers() -> None:
    """Shut down the pool that joblib would keep for a next call, from any folder."""
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor(reuse=True).shutdown(wait=True)


def _stop_workers(over: Event) -> None:
    """Tell all workers to stop, until all is over: a library may swallow the exception."""
    while not over.is_set():
        for worker in multiprocessing.active_children():
            worker.terminate()
        over.wait(SECONDS_TO_CLOSE)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated("stopped by SIGTERM")


def _stop_working(number: int, frame: FrameType | None) -> None:
    _STOP.set()


def _end_job(number: int, frame: FrameType | None) -> None:
    _STOP.set()
    raise Terminated("stopped by SIGTERM")


@contextmanager
def _handled(handler: Handler, *numbers: int) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
