"""A full disk, a folder that cannot be written to, no memory left: one sentence, and it goes on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def mounted(tmp_path):
    """Mounts a small disk of its own; skips where that is not allowed."""
    made = []

    def mount(options: str) -> Path:
        folder = tmp_path / "disk"
        folder.mkdir(exist_ok=True)
        asked = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
        if subprocess.run(asked, capture_output=True, check=False).returncode:
            pytest.skip("no leave to mount")
        made.append(folder)
        return folder

    yield mount
    for folder in made:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def told(ended, *words: str) -> None:
    assert ended.code == 1, ended.err
    assert "Traceback" not in ended.err
    assert "\nFailed: " in ended.err
    for word in words:
        assert word in ended.err


def test_a_disk_that_is_full_is_told_and_with_room_it_goes_on(program, whole, kept, mounted):
    folder = mounted(f"size={program.empty_store.stat().st_size + 300_000}")
    (folder / "err").write_text("\n")  # takes a page of the disk, for what is told
    first = program(folder)
    told(first, "Is there room on the disk? Make some; finished stages will be reused")
    subprocess.run(["mount", "-o", "remount,size=200m", str(folder)], check=True)
    again = program(folder)
    assert again.code == 0, again.err
    assert kept(folder).numbers() == whole.numbers()
    assert "RUNNING" not in kept(folder).statuses()


@pytest.mark.parametrize("more", [0, 60_000])
def test_a_file_that_may_not_grow_is_told(program, whole, kept, tmp_path, more):
    size = program.empty_store.stat().st_size
    first = program(tmp_path, limit_file_bytes=size + more)
    told(first, "Is there room on the disk?")
    again = program(tmp_path)
    assert again.code == 0, again.err
    assert kept(tmp_path).numbers() == whole.numbers()
    assert "RUNNING" not in kept(tmp_path).statuses()


def test_a_folder_that_cannot_be_written_to_is_told(program, mounted):
    folder = mounted("size=200m")
    (folder / "out").touch(), (folder / "err").touch(), (folder / "batches").touch()
    store = folder / "runs"
    store.mkdir()
    subprocess.run(["mount", "--bind", str(store), str(store)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(store)], check=True)
        ended = program(folder, "tracking.uri=sqlite:///runs/mlflow.db")
    finally:
        subprocess.run(["umount", "--lazy", str(store)], check=False)
    assert ended.code == 2
    assert "tracking: cannot keep experiment 'distill-lab'" in ended.err
    assert "Read-only file system" in ended.err
    assert "Traceback" not in ended.err


def test_artifacts_that_cannot_be_written_are_told(program, kept, tmp_path):
    (tmp_path / "taken").write_text("a file where a folder should be")
    ended = program(tmp_path, "tracking.artifact_location=taken")
    told(ended, "taken")
    assert "RUNNING" not in kept(tmp_path).statuses()
    assert "FAILED" in kept(tmp_path).statuses()


def test_no_memory_left_names_the_size_of_batches(program, kept, tmp_path):
    ended = program(
        tmp_path, "teacher.widths=[4096,4096]", "student.widths=[8]", limit_memory_mib=60
    )
    told(ended, "stage 1 teacher: there is no memory left", "Lower regime.batch_size")
    assert set(kept(tmp_path).statuses()) == {"FAILED"}
