"""SIGTERM and Ctrl-C: the training is saved at once, runs end KILLED, the exit code says why."""

from __future__ import annotations

import signal

import pytest

NUM_BATCHES = 12 + 6 + 18 + 18

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_training_is_saved_and_goes_on_without_a_batch_done_twice(
    program, whole, kept, tmp_path, number, code
):
    rare = "hardware.checkpoint_minutes=1000"
    first = program(tmp_path, rare, in_batch=NUM_BATCHES - 8, number=number)
    assert first.code == code
    assert "Stopped; finished stages will be reused by the same command." in first.err
    assert "Traceback" not in first.err
    assert kept(tmp_path).statuses().count("KILLED") == 2, "the stage's run and the workflow's"
    assert len(kept(tmp_path).left()) == 1
    again = program(tmp_path, rare)
    assert again.code == 0, again.err
    found = kept(tmp_path)
    assert found.numbers() == whole.numbers()
    assert found.num_batches() == whole.num_batches()
    assert found.left() == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("stage", ["s2_knowledge", "s6_evaluate"])
def test_stopped_where_nothing_trains_it_ends_at_once_and_clean(
    program, whole, kept, tmp_path, number, code, stage
):
    first = program(tmp_path, at_start_of=stage, number=number)
    assert first.code == code
    assert "Traceback" not in first.err
    assert "RUNNING" not in kept(tmp_path).statuses()
    again = program(tmp_path)
    assert again.code == 0, again.err
    assert kept(tmp_path).numbers() == whole.numbers()


def test_without_checkpoints_a_stopped_stage_is_begun_anew_with_the_same_numbers(
    program, whole, kept, tmp_path
):
    none = "hardware.checkpoint_minutes=null"
    first = program(tmp_path, none, in_batch=NUM_BATCHES - 8, number=signal.SIGTERM)
    assert first.code == 143
    assert kept(tmp_path).left() == []
    again = program(tmp_path, none)
    assert again.code == 0, again.err
    assert kept(tmp_path).numbers() == whole.numbers()
    assert kept(tmp_path).num_batches() == NUM_BATCHES + 18 - 8


def test_stopped_with_reuse_off_everything_is_done_anew(program, whole, kept, tmp_path):
    program(tmp_path, "reuse=off", in_batch=20, number=signal.SIGTERM)
    again = program(tmp_path, "reuse=off")
    assert again.code == 0, again.err
    assert kept(tmp_path).num_batches() == NUM_BATCHES + 20
