"""Signals that come in the middle of work on a database."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count

from sqlalchemy import event
from sqlalchemy.engine import Engine


@contextmanager
def signal_at_statement(place: int) -> Iterator[list[int]]:
    """Send this process a SIGTERM in a statement, counted from 0; the list says if it was sent."""
    made: list[int] = []
    sent: list[int] = []

    def leave(number, frame):
        raise SystemExit(143)

    def count_on(*_: object) -> None:
        made.append(len(made))
        if made[-1] == place:
            sent.append(place)
            signal.raise_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, leave)
    event.listen(Engine, "after_cursor_execute", count_on)
    try:
        yield sent
    finally:
        event.remove(Engine, "after_cursor_execute", count_on)
        signal.signal(signal.SIGTERM, before)


def places(work: Callable[[], None]) -> Iterator[int]:
    """Do some work once for each of its statements, with a signal in it; yield the statement."""
    for place in count():
        with signal_at_statement(place) as sent, suppress(SystemExit):
            work()
            assert not sent, "the signal was not handled"
        if not sent:
            return
        yield place
