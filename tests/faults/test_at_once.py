"""The same command twice at the same time: the work is done once, and both end with it."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow


def test_two_of_the_same_train_each_network_once_and_end_alike(program, whole, kept, tmp_path):
    ended = program.run(*(program.command(tmp_path) for _ in range(2)))
    assert [one.code for one in ended] == [0, 0], ended[0].err
    found = kept(tmp_path)
    assert found.num_batches() == whole.num_batches()
    assert found.numbers() == whole.numbers()
    workflows = [r for r in found.records if r.data.tags.get("kind") == "workflow"]
    assert len(workflows) == 2
    assert set(found.statuses()) == {"FINISHED"}
    first, second = (record.data.metrics for record in workflows)
    assert first == second


def test_where_one_of_two_is_killed_the_other_does_its_work(program, whole, kept, tmp_path):
    killed, other = program.run(program.command(tmp_path, in_batch=4), program.command(tmp_path))
    assert killed.code in (-9, 0)
    assert other.code == 0, other.err
    again = program(tmp_path)
    assert again.code == 0, again.err
    assert kept(tmp_path).numbers() == whole.numbers()
    assert "RUNNING" not in kept(tmp_path).statuses()


def test_a_store_that_two_make_at_once_is_made_once(program, kept, tmp_path):
    (tmp_path / "out").touch()  # so that no empty store is put there
    ended = program.run(*(program.command(tmp_path) for _ in range(2)))
    assert [one.code for one in ended] == [0, 0], ended[0].err
    assert set(kept(tmp_path).statuses()) == {"FINISHED"}
