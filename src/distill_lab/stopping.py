"""Signals to stop wait for what must not be cut in two: a step of a training, a call of a database.

A training has the signal handled once it is between two steps and has been saved.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

Handler = Callable[[int, FrameType | None], object]
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
"""The last two are how SLURM may announce that a job's time ends, to a handler of submitit's."""
_raised: BaseException | None = None
"""What the last signal raised that is to end the program, or the job."""


class Terminated(SystemExit):
    """The program was told to end, by SIGTERM; its open runs end as killed."""


@contextmanager
def ended_by(*numbers: signal.Signals) -> Iterator[None]:
    """Turn SIGINT and SIGTERM into exceptions that end what is done inside.

    SIGINT stays ignored where it is, as in what a script has in the background.

    They come at any place, and where that is a destructor, a callback of a weak reference or a
    library that catches everything, they are lost. So the next thing that must not be cut in two
    raises what was lost once more: see `raise_if_lost`.

    Raises:
        KeyboardInterrupt: after SIGINT.
        Terminated: after SIGTERM.
    """
    global _raised
    ignored = {signal.SIGINT} if signal.getsignal(signal.SIGINT) == signal.SIG_IGN else set()
    before = {number: signal.signal(number, _raise) for number in {*numbers} - ignored}
    hook, sys.unraisablehook = sys.unraisablehook, _untold
    try:
        yield
    finally:
        _raised = None
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def raise_if_lost() -> None:
    """Raise once more what a signal raised, unless it is on its way out of the program already."""
    if _raised is None or threading.current_thread() is not threading.main_thread():
        return
    error = sys.exc_info()[1]
    while error is not None:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            return
        error = error.__context__
    raise type(_raised)(*_raised.args)


def _raise(number: int, frame: FrameType | None) -> None:
    global _raised
    interrupted = number == signal.SIGINT
    _raised = KeyboardInterrupt() if interrupted else Terminated("stopped by SIGTERM")
    raise _raised


def _untold(lost: sys.UnraisableHookArgs) -> None:
    """Say nothing of what is raised once more; of all else what Python says."""
    if not isinstance(lost.exc_value, KeyboardInterrupt | Terminated):
        sys.__unraisablehook__(lost)


class Stopping:
    """While it is open, the first signal is noted; a second one is handled at once, as ever.

    The handler that was there before is called by `hand_on`, or at the latest when this closes: it
    raises what ends the program. Handlers exist in the main thread alone; elsewhere, and for a
    signal without a handler, nothing is done.
    """

    def __init__(self) -> None:
        self._came: tuple[int, FrameType | None] | None = None
        self._before: dict[int, Handler] = {}

    @property
    def told(self) -> bool:
        """Whether a signal waits to be handled."""
        return self._came is not None

    def hand_on(self) -> None:
        """Have the signal handled that waits, if there is one."""
        if self._came is not None:
            came, self._came = self._came, None
            self._before[came[0]](*came)

    def __enter__(self) -> Stopping:
        raise_if_lost()
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                handler = signal.getsignal(number)
                if callable(handler):
                    self._before[number] = handler
                    signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        # Whoever asked for an end must not see the program go on with what comes after a training
        # that was pruned or failed. Ctrl-C has been handled already.
        if not isinstance(error, KeyboardInterrupt):
            self.hand_on()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.hand_on()
        self._came = (number, frame)
