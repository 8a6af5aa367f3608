"""The program is killed by kill -9; the same command then ends as if nothing had been."""

from __future__ import annotations

import signal

import pytest

pytestmark = pytest.mark.slow
NUM_BATCHES = 12 + 6 + 18 + 18  # of teacher, reference student, control and student


def check_as_whole(found, whole, twice: int) -> None:
    """Same numbers, no run that stands as running, and no more than some batches done twice."""
    assert found.numbers() == whole.numbers()
    assert "RUNNING" not in found.statuses()
    assert found.num_batches() <= whole.num_batches() + twice
    assert found.left() == []


def test_a_run_that_is_not_disturbed_trains_each_batch_once(whole):
    assert whole.num_batches() == NUM_BATCHES
    assert whole.statuses() == ["FINISHED"] * 9
    assert whole.left() == []


def test_killed_in_the_middle_of_an_epoch_it_goes_on_there(program, whole, kept, tmp_path):
    first = program(tmp_path, in_batch=NUM_BATCHES - 8)
    assert first.code == -signal.SIGKILL
    again = program(tmp_path)
    assert again.code == 0, again.err
    assert "student, ce+kd: goes on where it was stopped" in again.out
    check_as_whole(kept(tmp_path), whole, twice=1)
    trained = kept(tmp_path).finished("5 train")
    assert trained.data.tags["resumed"] == "student, ce+kd"


@pytest.mark.parametrize("place", ["at_start_of", "at_end_of"])
def test_killed_in_every_stage_one_after_another_it_ends_as_if_it_was_not(
    program, whole, kept, tmp_path, place
):
    stages = ("s1_teacher", "s2_knowledge", "s3_student", "s4_loss", "s5_control", "s5_train")
    for stage in (*stages, "s6_evaluate"):
        ended = program(tmp_path, **{place: stage})
        assert ended.code == -signal.SIGKILL, stage
        assert "Traceback" not in ended.err
    again = program(tmp_path)
    assert again.code == 0, again.err
    check_as_whole(kept(tmp_path), whole, twice=0)


def test_killed_again_and_again_it_gets_on(program, whole, kept, tmp_path):
    for _ in range(20):
        ended = program(tmp_path, in_batch=4)
        if ended.code == 0:
            break
        assert ended.code == -signal.SIGKILL
    assert ended.code == 0, ended.err
    check_as_whole(kept(tmp_path), whole, twice=15)
