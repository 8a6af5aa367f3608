"""Signals to stop wait for what must not be cut in two: a step of a training, a call of a database.

A training has the signal handled once it is between two steps and has been saved.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

Handler = Callable[[int, FrameType | None], object]
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
"""The last two are how SLURM may announce that a job's time ends, to a handler of submitit's."""


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
