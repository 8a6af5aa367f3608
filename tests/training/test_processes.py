from __future__ import annotations

import pytest

from distill_lab.training.processes import _how_it_ended


@pytest.mark.parametrize(
    ("code", "words"),
    [(-9, "was killed (SIGKILL: perhaps"), (-11, "was ended by SIGSEGV"), (3, "exit code 3")],
)
def test_how_a_process_ended_is_said_in_words(code, words):
    assert words in _how_it_ended(code)
