"""Why a training of several processes ended: the one that failed first is blamed."""

from __future__ import annotations

from multiprocessing import Pipe
from types import SimpleNamespace

import pytest

from distill_lab.settings import Hardware
from distill_lab.training import processes
from distill_lab.training.processes import _how_it_ended, _Others


@pytest.mark.parametrize(
    ("code", "words"),
    [(-9, "was killed (SIGKILL: perhaps"), (-11, "was ended by SIGSEGV"), (3, "exit code 3")],
)
def test_how_a_process_ended_is_said_in_words(code, words):
    assert words in _how_it_ended(code)


@pytest.fixture
def reason(tmp_path, monkeypatch):
    """Says why processes 1 and 2 of 3 ended, given exit code and last words of each."""
    monkeypatch.setattr(processes, "SECONDS_TO_TELL", 0.0)
    hardware = Hardware(
        "cpu", 3, "32-true", channels_last=False, compile=False, threads=1, strategy="ddp"
    )

    def say(*ends: tuple[int | None, tuple[float, str] | None]) -> str | None:
        others = _Others(hardware, tmp_path / "store", lambda job, group: None)
        for code, words in ends:
            ours, theirs = Pipe()
            if words is not None:
                theirs.send(words)
            if code is not None:
                theirs.close()
            others._made.append((SimpleNamespace(exitcode=code, sentinel=ours), ours))
        return others.reason()

    return say


LOST = "RuntimeError: Connection closed by peer"


def test_one_that_was_killed_is_named_although_the_other_one_missed_it(reason):
    assert reason((1, (5.0, LOST)), (-9, None)).startswith("process 2 of 3 was killed (SIGKILL")


def test_of_two_that_failed_the_one_that_said_so_first_is_named(reason):
    said = reason((1, (5.1, LOST)), (1, (5.0, "MemoryError: no")))
    assert said == "process 2 of 3 failed: MemoryError: no"


def test_one_that_ended_without_a_word_is_named_by_its_exit_code(reason):
    assert reason((None, None), (1, None)).startswith("process 2 of 3 ended with exit code 1;")


def test_where_none_ended_none_is_named(reason):
    assert reason((None, None), (None, None)) is None
