from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from threading import Thread
from types import SimpleNamespace

import numpy as np
import pytest

from distill_lab.knowledge.rows import RowFile, words

NUM_ROWS, ROW_BYTES = 7, 21
DATA = np.random.default_rng(0).integers(0, 256, (NUM_ROWS, ROW_BYTES), dtype=np.uint8)
ALL = np.arange(NUM_ROWS)


def opened(path, salt="a salt", num_rows=NUM_ROWS, row_bytes=ROW_BYTES):
    return RowFile(path, num_rows, row_bytes, salt)


@pytest.fixture
def path(tmp_path):
    """A file in which every row is written."""
    path = tmp_path / "deep" / "down.rows"
    opened(path).write(ALL, DATA)
    return path


def sound_rows(path, **arguments):
    return opened(path, **arguments).read(ALL)[1].tolist()


def test_rows_are_read_as_they_were_written_in_any_order(path):
    index = np.array([3, 0, 6, 3])
    rows, sound = opened(path).read(index)
    assert sound.all()
    assert np.array_equal(rows, DATA[index])


def test_what_was_never_written_is_missing_without_a_warning(tmp_path, caplog):
    file = opened(tmp_path / "new.rows")
    file.write(np.array([2, 5]), DATA[[2, 5]])
    assert file.read(ALL)[1].tolist() == [False, False, True, False, False, True, False]
    assert caplog.text == ""


def test_a_row_of_zeros_counts_as_written(tmp_path):
    file = opened(tmp_path / "new.rows")
    file.write(np.array([0]), np.zeros((1, ROW_BYTES), np.uint8))
    assert file.read(ALL)[1].tolist() == [True] + [False] * (NUM_ROWS - 1)


def test_any_altered_byte_is_found_and_told_of(path, caplog):
    whole = path.read_bytes()
    row = words(ROW_BYTES) * 8
    for place in range(2 * row, 3 * row):
        altered = bytearray(whole)
        altered[place] ^= 0x10
        path.write_bytes(altered)
        assert sound_rows(path) == [True, True, False, True, True, True, True]
    assert f"{path} was altered; what does not fit is computed again." in caplog.text


def test_it_is_told_once_that_a_file_was_altered(path, caplog):
    path.write_bytes(path.read_bytes()[::-1])
    file = opened(path)
    for _ in range(3):
        assert not file.read(ALL)[1].any()
    assert len(caplog.records) == 1


def test_an_altered_row_can_be_written_again(path):
    altered = bytearray(path.read_bytes())
    altered[-1] ^= 1
    altered[0] ^= 1
    path.write_bytes(altered)
    file = opened(path)
    missing = ALL[~file.read(ALL)[1]]
    assert missing.tolist() == [0, 6]
    file.write(missing, DATA[missing])
    assert np.array_equal(opened(path).read(ALL)[0], DATA)


def test_a_truncated_file_keeps_its_whole_rows_and_lacks_the_others(path, caplog):
    size = path.stat().st_size
    os.truncate(path, size * 4 // 7 + 3)
    assert sound_rows(path) == [True] * 4 + [False] * 3
    assert path.stat().st_size == size
    assert f"{size * 4 // 7 + 3} bytes, not {size}" in caplog.text


def test_an_empty_file_is_a_new_one(path):
    os.truncate(path, 0)
    assert sound_rows(path) == [False] * NUM_ROWS


def test_a_file_that_is_too_long_is_cut(path, caplog):
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + b"more")
    assert sound_rows(path) == [True] * NUM_ROWS
    assert path.stat().st_size == size
    assert f"{size + 4} bytes, not {size}" in caplog.text


def test_rows_of_another_salt_are_missing(path):
    assert sound_rows(path, salt="other") == [False] * NUM_ROWS


def test_a_row_in_another_place_is_missing(path):
    row = words(ROW_BYTES) * 8
    whole = path.read_bytes()
    path.write_bytes(whole[row : 2 * row] + whole[row:])
    assert sound_rows(path) == [False] + [True] * 6


def test_a_row_whose_writer_was_killed_before_the_checksum_is_missing(tmp_path):
    file = opened(tmp_path / "new.rows")
    file._table[4, 1:] = 17
    assert file.read(ALL)[1].tolist() == [False] * NUM_ROWS


def test_two_processes_write_one_file_at_once(tmp_path):
    code = """
import sys, numpy as np
from pathlib import Path
from distill_lab.knowledge.rows import RowFile
file = RowFile(Path(sys.argv[1]), 400, 24, "salt")
for start in range(int(sys.argv[2]), 400, 2):
    index = np.array([start, (start + 7) % 400])
    file.write(index, np.repeat((index % 251).astype(np.uint8)[:, None], 24, axis=1))
"""
    path = tmp_path / "shared.rows"
    command = [sys.executable, "-c", code, str(path)]
    both = [subprocess.Popen([*command, start]) for start in ("0", "1")]
    assert [process.wait() for process in both] == [0, 0]
    rows, sound = RowFile(path, 400, 24, "salt").read(np.arange(400))
    assert sound.all()
    assert np.array_equal(rows, np.repeat((np.arange(400) % 251)[:, None], 24, axis=1))


def test_a_disk_that_is_full_half_way_gets_its_room_back(tmp_path, monkeypatch):
    def full(descriptor, offset, size):
        os.ftruncate(descriptor, size // 2)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        opened(tmp_path / "new.rows")
    assert (tmp_path / "new.rows").stat().st_size == 0


def test_some_room_is_left_to_others(tmp_path, monkeypatch):
    size = NUM_ROWS * words(ROW_BYTES) * 8
    for free, fits in ((2**30 + size, True), (2**30 + size - 1, False)):
        monkeypatch.setattr(
            shutil, "disk_usage", lambda path, free=free: SimpleNamespace(free=free)
        )
        with (
            nullcontext() if fits else pytest.raises(OSError, match="less than 1 GiB would be left")
        ):
            opened(tmp_path / f"{free}.rows")


def test_who_opens_a_file_that_another_is_making_waits_and_leaves_it_whole(tmp_path, monkeypatch):
    """A file that is being made is short for a while; mending it then would kill its maker."""
    seen = []
    claim = os.posix_fallocate

    def slowly(descriptor, offset, size):
        os.ftruncate(descriptor, size // 2)
        other = Thread(target=lambda: seen.append(opened(tmp_path / "new.rows")))
        other.start()
        other.join(timeout=0.2)
        assert seen == []
        claim(descriptor, offset, size)
        monkeypatch.setattr(os, "posix_fallocate", claim)
        waiting.append(other)

    waiting = []
    monkeypatch.setattr(os, "posix_fallocate", slowly)
    opened(tmp_path / "new.rows").write(ALL, DATA)
    waiting[0].join()
    assert seen[0].read(ALL)[1].all()


def test_the_words_of_a_row_hold_its_bytes_and_a_checksum():
    assert [words(size) for size in (1, 8, 9, 16, 40)] == [2, 2, 3, 3, 6]
