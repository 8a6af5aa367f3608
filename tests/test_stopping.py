"""A signal waits for what must not be cut in two, and is never lost."""

from __future__ import annotations

import signal
import sys
import weakref
from contextlib import suppress

import pytest

from distill_lab.errors import Pruned, RunError
from distill_lab.stopping import Stopping, Terminated, ended_by, raise_if_lost

BOTH = [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)]


@pytest.mark.usefixtures("exits_with_143")
@pytest.mark.parametrize("error", [Pruned(1, 3), RunError("no"), ValueError("no")])
def test_a_signal_that_came_before_the_training_failed_or_was_pruned_is_handled(error):
    def stopped_in_vain():
        signal.raise_signal(signal.SIGTERM)
        raise error

    with pytest.raises(SystemExit) as caught, Stopping():
        stopped_in_vain()
    assert caught.value.code == 143
    assert caught.value.__context__ is error


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_the_end_of_a_jobs_time_waits_too_where_submitit_handles_it(number):
    heard = []
    before = signal.signal(number, lambda number, frame: heard.append(number))
    try:
        with Stopping() as stopping:
            signal.raise_signal(number)
            assert (stopping.told, heard) == (True, [])
        assert heard == [number]
    finally:
        signal.signal(number, before)


@pytest.mark.usefixtures("exits_with_143")
def test_without_a_signal_what_a_training_failed_with_is_what_is_told():
    with pytest.raises(Pruned), Stopping():
        raise Pruned(1, 3)


class Swallows:
    """Gets a signal while it is destroyed, where no exception gets out of."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        signal.raise_signal(self.number)


@pytest.mark.parametrize(("number", "error"), BOTH)
def test_what_a_destructor_swallowed_is_raised_by_the_next_that_signals_wait_for(
    number, error, capsys
):
    steps = []

    def work():
        one = Swallows(number)
        del one
        steps.append("after the signal")
        with Stopping():
            steps.append("what signals wait for")

    with pytest.raises(error), ended_by(signal.SIGTERM, signal.SIGINT):
        work()
    assert steps == ["after the signal"]
    assert capsys.readouterr().err == ""
    raise_if_lost()  # of which nothing is left


@pytest.mark.parametrize(("number", "error"), BOTH)
def test_what_a_library_swallowed_is_raised_in_the_midst_of_another_error(number, error):
    def work():
        with suppress(BaseException):
            signal.raise_signal(number)
        try:
            raise ValueError
        except ValueError:
            raise_if_lost()

    with pytest.raises(error), ended_by(signal.SIGTERM, signal.SIGINT):
        work()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_on_its_way_out_does_not_cut_off_what_is_closed_on_the_way(number):
    closed = []

    def close():
        with Stopping():
            closed.append("the run")
        try:
            raise ConnectionError
        except ConnectionError:
            with Stopping():
                closed.append("again, as the store was away")

    with suppress(BaseException), ended_by(signal.SIGTERM, signal.SIGINT):
        try:
            signal.raise_signal(number)
        finally:
            close()
    assert closed == ["the run", "again, as the store was away"]


def test_what_else_a_callback_swallows_is_told_as_ever(capsys):
    class Referred:
        pass

    def fail(_):
        raise ValueError("not of a signal")

    with ended_by(signal.SIGTERM):
        one = Referred()
        kept = weakref.ref(one, fail)
        del one
    assert kept() is None
    assert "ValueError: not of a signal" in capsys.readouterr().err


def test_handlers_are_as_before_and_an_ignored_ctrl_c_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    hook = sys.unraisablehook
    try:
        with ended_by(signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        assert sys.unraisablehook is hook
    finally:
        signal.signal(signal.SIGINT, before)
