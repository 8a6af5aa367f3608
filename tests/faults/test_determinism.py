"""The same seed gives the same numbers, however the run came to them."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow


def test_a_run_in_another_folder_and_process_has_the_same_numbers(program, whole, kept, tmp_path):
    assert program(tmp_path).code == 0
    assert kept(tmp_path).numbers() == whole.numbers()


def test_a_rerun_that_takes_nothing_from_before_has_the_same_numbers(program, kept, tmp_path):
    for _ in range(2):
        ended = program(tmp_path, "reuse=off")
        assert ended.code == 0, ended.err
    found = kept(tmp_path)
    tensors = {}
    for record in found.records:
        for path in found.artifacts(record).rglob("*.safetensors"):
            tensors.setdefault(path.stem, []).append(path.read_bytes())
    assert sorted(tensors) == ["control", "predictions", "student", "teacher"]
    for name, (first, second) in tensors.items():
        assert first == second, name


@pytest.mark.parametrize("fill", ["off", "stage_2"])
def test_with_and_without_a_cache_the_numbers_are_the_same(program, whole, kept, tmp_path, fill):
    ended = program(tmp_path, f"cache.fill={fill}")
    assert ended.code == 0, ended.err
    ours, theirs = kept(tmp_path).numbers(), whole.numbers()
    assert {key: value for key, value in ours.items() if not key.startswith("2 fill")} == theirs


def test_saving_a_training_does_not_change_its_numbers(program, whole, kept, tmp_path):
    assert program(tmp_path, "hardware.checkpoint_minutes=null").code == 0
    assert kept(tmp_path).numbers() == whole.numbers()


def test_another_seed_has_other_numbers(program, whole, kept, tmp_path):
    assert program(tmp_path, "seed=1").code == 0
    ours, theirs = (k.numbers()["5 train: student.safetensors"] for k in (kept(tmp_path), whole))
    assert ours != theirs


def test_two_threads_end_within_rounding_of_one(program, whole, kept, tmp_path):
    """They may differ in the last bits, as sums are taken in another order."""
    assert program(tmp_path, "hardware.threads=2").code == 0
    ours, theirs = kept(tmp_path).numbers(), whole.numbers()
    key = "5 train: kept/val/nll"
    assert ours[key][0][1] == pytest.approx(theirs[key][0][1], rel=1e-3)
