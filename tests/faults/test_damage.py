"""Files that are cut, altered or gone: found by checksum, named, and computed again."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
CACHED = ("cache.fill=lazy", "cache.folder=answers")


@pytest.fixture(scope="module")
def done(program, tmp_path_factory):
    """A folder in which the tiny run is finished; every test damages it, and mends it."""
    folder = tmp_path_factory.mktemp("done")
    ended = program(folder, *CACHED)
    assert ended.code == 0, ended.err
    return folder


def artifact(found, name: str, path: str) -> Path:
    return found.artifacts(found.originals(name)[0]) / path


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def flatter(path: Path) -> None:
    """Alter a number, so that the file is sound by its form."""
    values = json.loads(path.read_text())
    values["scores"]["accuracy"] = 1.0
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("stage", "path", "how"),
    [
        ("5 train", "weights/student.safetensors", cut),
        ("5 train", "weights/student.safetensors", flip),
        ("5 train", "handoff.json", cut),
        ("5 train", "handoff.json", flatter),
        ("5 control", "handoff.json", Path.unlink),
        ("6 evaluate", "handoff.json", Path.unlink),
    ],
)
def test_a_damaged_artifact_is_named_and_its_stage_done_again(
    program, whole, kept, done, stage, path, how
):
    how(artifact(kept(done), stage, path))
    again = program(done, *CACHED)
    assert again.code == 0, again.err
    assert f"{stage:<12} not reused: artifact '{path}' of run " in " ".join(again.out.split("\n"))
    assert "Traceback" not in again.out + again.err
    newest, first = kept(done).originals(stage)[0], whole.finished(stage)
    for name, value in first.data.metrics.items():
        if "accuracy" in name:
            assert newest.data.metrics[name] == value


def test_a_damaged_candidate_is_trained_again_with_the_same_weights(program, whole, kept, done):
    name, before = "candidate MLP widths=[16], seed 0", kept(done).num_batches()
    flip(artifact(kept(done), name, "weights/teacher.safetensors"))
    again = program(done, *CACHED)
    assert again.code == 0, again.err
    assert "was altered" in again.out
    assert kept(done).num_batches() == before + 12, "the teacher alone, whose weights are the same"


def test_a_damaged_checkpoint_is_named_and_its_training_begun_anew(program, whole, kept, tmp_path):
    assert program(tmp_path, in_batch=4).code == -signal.SIGKILL
    (checkpoint,) = kept(tmp_path).left()
    flip(checkpoint)
    again = program(tmp_path)
    assert again.code == 0, again.err
    assert "does not have its SHA-256" in again.err
    assert kept(tmp_path).numbers() == whole.numbers()
    assert kept(tmp_path).left() == []


def test_damaged_rows_of_the_cache_are_asked_again(program, whole, kept, done, tmp_path):
    shutil.copytree(done / "answers", tmp_path / "answers")
    rows = list((tmp_path / "answers").rglob("*.rows"))
    assert rows
    for path in rows:
        flip(path)
    again = program(tmp_path, *CACHED)
    assert again.code == 0, again.err
    assert kept(tmp_path).numbers() == whole.numbers()


def test_a_damaged_store_is_named(program, done):
    cut(done / "mlflow.db")
    again = program(done, *CACHED)
    assert again.code in (1, 2)
    assert "Traceback" not in again.err
    assert "mlflow.db" in again.err
    assert "malformed" in again.err
