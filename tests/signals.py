"""Signals that come in the middle of work on a database."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count

from sqlalchemy import event
from sqlalchemy.engine import Engine

from distill_lab.stopping import Terminated, ended_by


@contextmanager
def signal_at_statement(place: int) -> Iterator[list[int]]:
    """Send this process a SIGTERM in a statement, counted from 0; the list says if it was sent."""
    numbers, sent = count(), []

    def count_on(*_: object) -> None:
        if next(numbers) == place:
            sent.append(place)
            signal.raise_signal(signal.SIGTERM)

    event.listen(Engine, "after_cursor_execute", count_on)
    try:
        with ended_by(signal.SIGTERM):
            yield sent
    finally:
        event.remove(Engine, "after_cursor_execute", count_on)


def places(work: Callable[[], None]) -> Iterator[int]:
    """Do some work once for each of its statements, with a signal in it; yield the statement."""
    for place in count():
        with suppress(Terminated), signal_at_statement(place) as sent:
            work()
            assert not sent, "the signal was not handled"
        if not sent:
            return
        yield place
