"""A signal waits while a training is saved, and is never lost."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from distill_lab.errors import Pruned, RunError
from distill_lab.training.stopping import Stopping


@pytest.fixture
def _exits_with_143() -> Iterator[None]:
    """SIGTERM ends the program, as the command line has it."""

    def leave(number, frame):
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, leave)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("_exits_with_143")
@pytest.mark.parametrize("error", [Pruned(1, 3), RunError("no"), ValueError("no")])
def test_a_signal_that_came_before_the_training_failed_or_was_pruned_is_handled(error):
    with pytest.raises(SystemExit) as caught, Stopping():
        signal.raise_signal(signal.SIGTERM)
        raise error
    assert caught.value.code == 143
    assert caught.value.__context__ is error


@pytest.mark.usefixtures("_exits_with_143")
def test_without_a_signal_what_a_training_failed_with_is_what_is_told():
    with pytest.raises(Pruned), Stopping():
        raise Pruned(1, 3)
