from __future__ import annotations

import contextlib
import io
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from threading import Event

import pytest

from distill_lab import parallel
from distill_lab.parallel import (
    Prefixed,
    be_quiet,
    stopped_with_this_process,
    under_name,
    work,
)
from distill_lab.stopping import Terminated


@pytest.fixture(autouse=True)
def _handlers_as_before(monkeypatch) -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as in a new process
    monkeypatch.setattr(parallel, "SECONDS_TO_LOOK", 0.001)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def never():
    return False


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


def test_outside_of_a_worker_the_name_stands_before_what_is_printed_inside(capsys):
    with under_name("seed=1"):
        print("  5 train      done")
    assert capsys.readouterr().out == "\nseed=1\n  5 train      done\n"


def test_a_worker_puts_the_name_of_its_job_before_each_line(capsys):
    def job():
        with under_name("seed=1"):
            print("  5 train      done")

    work(job, never)
    assert capsys.readouterr().out == "seed=1: 5 train      done\n"


def test_ctrl_c_is_left_to_the_sweep():
    done = []
    work(lambda: done.append(send(signal.SIGINT)), never)
    assert len(done) == 1


def sleep_until_told(done, began=None):
    """A job that never ends by itself, and closes its runs; told not before it began."""
    try:
        if began is not None:
            began.set()
        time.sleep(30)
    except Terminated:
        done.append("closed its runs")
        raise
    done.append("went on")


def test_a_job_that_is_told_to_stop_closes_its_runs_and_returns():
    done, began = [], Event()
    work(partial(sleep_until_told, done, began), began.is_set)
    assert done == ["closed its runs"]


def test_jobs_that_wait_are_left_out_once_they_are_told_to_stop():
    done = []
    work(partial(done.append, "began"), lambda: True)
    assert done == []


def test_a_job_is_told_again_where_a_library_swallowed_the_exception(monkeypatch):
    monkeypatch.setattr(parallel, "SECONDS_TO_CLOSE", 0.2)
    done, began = [], Event()

    def job():
        with contextlib.suppress(BaseException):
            began.set()
            time.sleep(30)
        sleep_until_told(done)

    work(job, began.is_set)
    assert done == ["closed its runs"]


def test_who_asks_whether_to_stop_while_the_job_ends_does_not_end_the_process_after_it():
    heard, asks, ended = [], Event(), Event()
    signal.signal(signal.SIGTERM, lambda *given: heard.append(given))

    def told():
        if threading.current_thread() is threading.main_thread():
            return False
        watchers.append(threading.current_thread())
        asks.set()
        return ended.wait(5)

    watchers = []
    work(lambda: asks.wait(5), told)
    ended.set()
    watchers[0].join(5)
    assert not watchers[0].is_alive()
    assert heard == []


def test_sigterm_of_somebody_else_ends_the_process_so_that_the_launcher_does_the_job_again():
    done = []

    def job():
        send(signal.SIGTERM)
        sleep_until_told(done)

    with pytest.raises(Terminated):
        work(job, never)


def test_a_worker_of_joblibs_pool_survives_sigterm_as_its_death_would_end_the_others(monkeypatch):
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: "the sweep's")
    done = []

    def job():
        send(signal.SIGTERM)
        sleep_until_told(done)

    work(job, never)
    work(partial(done.append, "next"), never)
    assert done == ["next"]


def test_after_a_job_signals_are_handled_as_before_it():
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = list(map(signal.getsignal, numbers))
    work(lambda: None, never)
    assert list(map(signal.getsignal, numbers)) == before


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_a_signal_has_the_jobs_stop_first_and_then_this_process(number, raised):
    before = signal.getsignal(number)
    told, steps = Event(), []

    def launch():
        with stopped_with_this_process(told.set):
            send(number)
            assert told.wait(5)
            steps.append("waits for the jobs")

    with pytest.raises(raised):
        launch()
    assert steps == ["waits for the jobs"]
    assert signal.getsignal(number) is before


def test_the_second_ctrl_c_does_not_wait():
    def launch():
        with stopped_with_this_process(lambda: None):
            send(signal.SIGINT)
            send(signal.SIGINT)
            pytest.fail("it waited")

    with pytest.raises(KeyboardInterrupt):
        launch()


def test_what_a_launcher_says_of_jobs_that_were_told_to_stop_is_no_news():
    def launch():
        with stopped_with_this_process(lambda: None):
            send(signal.SIGINT)
            raise OSError("a job is gone")

    with pytest.raises(KeyboardInterrupt):
        launch()


def test_what_a_launcher_says_of_a_job_that_died_by_itself_is():
    def launch():
        with stopped_with_this_process(lambda: None):
            raise OSError("a job is gone")

    with pytest.raises(OSError, match="a job is gone"):
        launch()


def test_bars_are_off_for_jobs_alone(monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    with stopped_with_this_process(lambda: None):
        assert os.environ["TQDM_DISABLE"] == "1"
    assert "TQDM_DISABLE" not in os.environ


def test_warnings_of_ours_are_told_also_where_those_of_all_others_are_not(monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "level", logging.ERROR)
    logging.getLogger("distill_lab").setLevel(logging.NOTSET)
    ours = logging.getLogger("distill_lab.data.fetch")
    assert not ours.isEnabledFor(logging.WARNING)
    be_quiet()
    assert ours.isEnabledFor(logging.WARNING)
