"""Files that are cut, altered or gone: found by checksum, named, and computed again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
CACHED = ("cache.fill=lazy", "cache.folder=answers")


@pytest.fixture
def done(program, tmp_path):
    """A folder in which the tiny run is finished."""
    ended = program(tmp_path, *CACHED)
    assert ended.code == 0, ended.err
    return tmp_path


def artifact(found, name: str, path: str) -> Path:
    run = found.finished(name)
    return Path(run.info.artifact_uri.removeprefix("file://")) / path


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
        ("6 evaluate", "report.html", Path.unlink),
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
    newest = {}
    for record in sorted(kept(done).records, key=lambda one: one.info.start_time):
        if record.info.run_name == stage:
            newest = record.data.metrics
    first = whole.finished(stage).data.metrics
    assert {k: newest[k] for k in first if "accuracy" in k} == {
        k: v for k, v in first.items() if "accuracy" in k
    }


def test_a_damaged_candidate_is_trained_again_with_the_same_weights(program, whole, kept, done):
    name = "candidate MLP widths=[16], seed 0"
    flip(artifact(kept(done), name, "weights/teacher.safetensors"))
    again = program(done, *CACHED)
    assert again.code == 0, again.err
    assert "was altered" in again.out
    batches = kept(done).num_batches()
    assert batches == whole.num_batches() + 12, "the teacher alone, as its weights are the same"


def test_damaged_rows_of_the_cache_are_asked_again(program, whole, kept, done):
    rows = list((done / "answers").rglob("*.rows"))
    assert rows
    for path in rows:
        flip(path)
    shutil.rmtree(done / "mlartifacts")
    (done / "mlflow.db").unlink()
    again = program(done, *CACHED)
    assert again.code == 0, again.err
    assert kept(done).numbers() == whole.numbers()


def test_a_damaged_store_is_named(program, done):
    cut(done / "mlflow.db")
    again = program(done, *CACHED)
    assert again.code in (1, 2)
    assert "Traceback" not in again.err
    assert "mlflow.db" in again.err
    assert "malformed" in again.err
