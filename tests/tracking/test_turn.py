"""Processes that share no folder take turns by tags of their runs."""

from __future__ import annotations

import time
from threading import Event, Thread
from types import SimpleNamespace

import pytest
from filelock import Timeout

from distill_lab.tracking import turn as turn_module
from distill_lab.tracking.orphans import this_process
from distill_lab.tracking.turn import Turn

NAME = "5eed"
TAG = f"turn.{NAME}"


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(turn_module, "LOOK_SECONDS", 0.01)


@pytest.fixture
def turn(store):
    """Makes the turn of a new run, or of one whose tag stands already as another left it."""

    def make(told=None, name=NAME):
        run = store.client.create_run(store.experiment_id)
        if told is not None:
            store.client.set_tag(run.info.run_id, TAG, told)
        return Turn(store.client, store.experiment_id, name, run.info.run_id)

    return make


def test_only_one_has_its_turn_at_a_time(turn):
    inside, most, served = [], [], []

    def serve(one):
        for _ in range(2):
            with one:
                inside.append(one)
                most.append(len(inside))
                time.sleep(0.02)
                inside.remove(one)
                served.append(one)

    threads = [Thread(target=serve, args=(turn(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (max(most), len(served)) == (1, 8)


def test_who_does_not_wait_is_told_and_is_in_nobodys_way_later(turn):
    first, second = turn(), turn()
    first.acquire()
    with pytest.raises(Timeout):
        second.acquire(timeout=0)
    first.release()
    with turn():
        pass


def test_who_waits_goes_on_as_soon_as_the_first_is_done(turn):
    first, second, through = turn(), turn(), Event()

    def wait():
        with second:
            through.set()

    first.acquire()
    waiting = Thread(target=wait)
    waiting.start()
    assert not through.wait(0.2)
    first.release()
    assert through.wait(5)
    waiting.join()


def test_other_names_do_not_wait(turn):
    with turn():
        turn(name="other").acquire(timeout=0)


def test_a_process_of_this_host_that_has_ended_is_not_waited_for(turn):
    host, _, _ = this_process().rsplit(":", 2)
    turn(told=f"1 0 {host}:4194305:1")  # a number that Linux gives to none
    turn().acquire(timeout=0)


@pytest.fixture
def clock(monkeypatch):
    """Time of this module alone, which goes on by ten seconds at each look."""
    ticks = SimpleNamespace(now=0.0)

    def sleep(seconds):
        ticks.now += 10.0

    own = SimpleNamespace(monotonic=lambda: ticks.now, sleep=sleep)
    monkeypatch.setattr(turn_module, "time", own)
    return ticks


def test_a_process_of_another_host_is_waited_for_until_it_has_been_silent_for_long(turn, clock):
    turn(told="1 7 elsewhere:1:1")
    with pytest.raises(Timeout):
        turn().acquire(timeout=200)
    turn().acquire(timeout=300)
    assert 200 + 240 < clock.now < 200 + 300


def test_of_a_process_that_was_lost_nothing_is_left_to_wait_for(turn, clock):
    turn(told="1 7 elsewhere:1:1")
    with turn():
        pass
    waited = clock.now
    turn().acquire(timeout=0)
    assert clock.now == waited


def test_who_has_its_turn_for_long_is_not_taken_for_lost(turn, clock, store):
    first = turn()
    first.acquire()
    beat = clock.now + 100

    def sleep(seconds):
        nonlocal beat
        clock.now += 10.0
        if clock.now > beat:
            first._write(1, int(clock.now))
            beat += 100

    turn_module.time.sleep = sleep
    with pytest.raises(Timeout):
        turn().acquire(timeout=1000)


def test_while_the_server_was_away_nobody_could_be_heard(turn, clock):
    first = turn()
    first.acquire()
    looks = []

    def sleep(seconds):
        looks.append(clock.now)
        clock.now += 500.0 if len(looks) == 1 else 10.0

    turn_module.time.sleep = sleep
    with pytest.raises(Timeout):
        turn().acquire(timeout=600)


def test_a_turn_counts_on_while_it_lasts(turn, store, monkeypatch):
    monkeypatch.setattr(turn_module, "BEAT_SECONDS", 0.01)
    one = turn()
    with one:
        begun = told = store.client.get_run(one._run_id).data.tags[TAG]
        limit = time.monotonic() + 10
        while told == begun and time.monotonic() < limit:
            told = store.client.get_run(one._run_id).data.tags[TAG]
        assert told != begun
    assert TAG not in store.client.get_run(one._run_id).data.tags


def test_who_leaves_at_the_moment_it_is_found_is_not_waited_for(turn, store, monkeypatch):
    gone = store.client.create_run(store.experiment_id)
    one = turn()
    monkeypatch.setattr(one._client, "search_runs", lambda *_: [gone])
    one.acquire(timeout=0)


def test_who_is_still_choosing_a_number_is_waited_for(turn, store):
    choosing, one = turn(told="0 0 elsewhere:1:1"), turn()
    through = Event()

    def wait():
        one.acquire()
        through.set()

    waiting = Thread(target=wait)
    waiting.start()
    assert not through.wait(0.2)
    store.client.set_tag(choosing._run_id, TAG, "9 0 elsewhere:1:1")
    assert through.wait(5)
    waiting.join()
