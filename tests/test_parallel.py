from __future__ import annotations

import contextlib
import io
import logging
import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from functools import partial
from threading import Event
from types import SimpleNamespace

import pytest

from distill_lab import parallel
from distill_lab.parallel import (
    Prefixed,
    Terminated,
    be_quiet,
    in_worker,
    stopped_with_this_process,
    under_name,
    work,
)


@pytest.fixture(autouse=True)
def _handlers_as_before() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as in a new process
    parallel._STOP.clear()
    yield
    parallel._STOP.clear()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def ended(monkeypatch):
    """Counts how often the pool of workers was shut down."""
    calls = []
    monkeypatch.setattr(parallel, "_end_workers", lambda: calls.append("ended"))
    return calls


@pytest.fixture
def told(monkeypatch):
    """What the one worker that there is was told."""

    class Worker:
        def terminate(self):
            calls.append("terminate")
            heard.set()

    calls = []
    heard = Event()
    monkeypatch.setattr(multiprocessing, "active_children", lambda: [Worker()])
    return SimpleNamespace(calls=calls, heard=heard)


def send(number):
    os.kill(os.getpid(), number)


def test_each_line_has_the_name_before_it_and_empty_lines_are_left_out():
    stream = io.StringIO()
    print("\none", "two\n\n  three", file=Prefixed("job", stream))
    assert stream.getvalue() == "job: one two\njob: three\n"


def test_a_line_is_written_when_it_is_complete():
    stream = io.StringIO()
    prefixed = Prefixed("job", stream)
    prefixed.write("half")
    assert stream.getvalue() == ""
    prefixed.write(" and half\nrest")
    assert stream.getvalue() == "job: half and half\n"


def test_this_process_is_no_worker():
    assert not in_worker()


@pytest.mark.parametrize(
    ("worker", "said"),
    [(True, "seed=1: 5 train      done\n"), (False, "\nseed=1\n  5 train      done\n")],
)
def test_a_worker_puts_the_name_of_its_job_before_each_line(capsys, monkeypatch, worker, said):
    monkeypatch.setattr(parallel, "in_worker", lambda: worker)
    with under_name("seed=1"):
        print("  5 train      done")
    assert capsys.readouterr().out == said


def test_ctrl_c_is_left_to_the_sweep():
    done = []
    work(lambda: done.append(send(signal.SIGINT)))
    assert len(done) == 1


def test_sigterm_ends_the_job_of_a_worker_and_the_jobs_that_wait_are_left_out():
    done = []

    def job():
        try:
            send(signal.SIGTERM)
        except Terminated:
            done.append("closed its runs")
            raise
        done.append("went on")

    work(job)
    work(lambda: done.append("began"))
    assert done == ["closed its runs"]


def test_the_jobs_that_wait_are_left_out_though_a_library_swallowed_the_exception():
    done = []

    def job():
        with contextlib.suppress(BaseException):
            send(signal.SIGTERM)
        done.append("a")

    work(job)
    work(partial(done.append, "b"))
    assert done == ["a"]


def test_sigterm_between_two_jobs_leaves_out_the_second():
    done = []
    work(lambda: done.append("a"))
    send(signal.SIGTERM)
    work(lambda: done.append("b"))
    assert done == ["a"]


def test_a_worker_that_was_not_told_to_stop_goes_on_with_the_next_job():
    done = []
    for name in "ab":
        work(partial(done.append, name))
    assert done == ["a", "b"]


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_a_signal_stops_the_workers_first_and_then_this_process(told, ended, number, raised):
    before = signal.getsignal(number)
    steps = []

    def launch():
        with stopped_with_this_process():
            send(number)
            told.heard.wait(5)
            steps.append("waits for the workers")

    with pytest.raises(raised):
        launch()
    assert (told.calls, steps, ended) == (["terminate"], ["waits for the workers"], ["ended"])
    assert signal.getsignal(number) is before


def test_the_second_ctrl_c_does_not_wait(told, ended):
    def launch():
        with stopped_with_this_process():
            send(signal.SIGINT)
            send(signal.SIGINT)
            pytest.fail("it waited")

    with pytest.raises(KeyboardInterrupt):
        launch()
    assert ended == ["ended"]


def test_a_worker_that_does_not_stop_is_told_again(told, ended, monkeypatch):
    monkeypatch.setattr(parallel, "SECONDS_TO_CLOSE", 0.001)

    def launch():
        with stopped_with_this_process():
            send(signal.SIGINT)
            for _ in range(2):
                told.heard.wait(5)
                told.heard.clear()

    with pytest.raises(KeyboardInterrupt):
        launch()
    assert len(told.calls) >= 2


def test_a_worker_that_dies_is_told_of_and_the_sweep_goes_on_to_its_summary(told, ended, capsys):
    with stopped_with_this_process():
        raise BrokenExecutor
    assert "A worker process died" in capsys.readouterr().err
    assert ended == ["ended"]


def test_workers_that_die_because_they_were_told_to_are_no_news(told, ended, capsys):
    def launch():
        with stopped_with_this_process():
            send(signal.SIGINT)
            raise BrokenExecutor

    with pytest.raises(KeyboardInterrupt):
        launch()
    assert capsys.readouterr().err == ""


def test_bars_are_off_for_workers_alone(ended, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    with stopped_with_this_process():
        assert os.environ["TQDM_DISABLE"] == "1"
    assert "TQDM_DISABLE" not in os.environ


def test_warnings_of_ours_are_told_also_where_those_of_all_others_are_not(monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "level", logging.ERROR)
    logging.getLogger("distill_lab").setLevel(logging.NOTSET)
    ours = logging.getLogger("distill_lab.data.fetch")
    assert not ours.isEnabledFor(logging.WARNING)
    be_quiet()
    assert ours.isEnabledFor(logging.WARNING)
