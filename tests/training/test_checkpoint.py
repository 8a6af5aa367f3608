"""A checkpoint says when there is something to go on with, and leaves nothing behind."""

from __future__ import annotations

from distill_lab.training.checkpoint import Checkpoint


def test_a_training_is_said_to_go_on_only_where_its_checkpoint_is_whole(tmp_path):
    told = []
    checkpoint = Checkpoint(tmp_path / "a.ckpt", 60.0, lambda: told.append("goes on"))
    assert checkpoint.read() is None
    checkpoint.write({"steps": 3})
    whole = checkpoint.path.read_bytes()
    checkpoint.path.write_bytes(whole[:-1])
    assert checkpoint.read() is None
    assert told == []
    checkpoint.path.write_bytes(whole)
    assert checkpoint.read() == {"steps": 3}
    assert told == ["goes on"]


def test_a_folder_goes_with_its_last_checkpoint(tmp_path):
    one, other = (Checkpoint(tmp_path / "stage" / name, 60.0) for name in ("a.ckpt", "b.ckpt"))
    for checkpoint in (one, other):
        checkpoint.write({})
    one.remove()
    assert other.path.exists()
    other.remove()
    other.remove()
    assert list(tmp_path.iterdir()) == []
