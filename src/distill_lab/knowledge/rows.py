"""A file of rows of equal length, mapped into memory; every row carries a checksum of its own."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from errno import ENOSPC
from pathlib import Path

import numpy as np
from filelock import FileLock

logger = logging.getLogger(__name__)

WORD = 8  # bytes; rows are kept in whole words, the first of which is the checksum
SPARED_BYTES = 2**30
"""Left free on the disk, for weights, reports and the tracking store."""


class RowFile:
    """Rows by number, written in any order by any number of processes.

    A row whose checksum does not fit is one that was never written, was cut off, was altered, or is
    being written just now; it counts as missing. So rows need no lock, and a process that is killed
    while it writes leaves nothing wrong behind. The file must not be cut while it is open: the
    system kills who reads beyond its end.

    Args:
        path: made where it is missing, with room for all rows.
        num_rows: rows that there can be.
        row_bytes: length of one row.
        salt: text that the checksums depend on: rows of another salt count as missing.

    Attributes:
        is_new: whether the file was made just now.

    Raises:
        OSError: the file cannot be made or written, or the disk would be full.
    """

    def __init__(self, path: Path, num_rows: int, row_bytes: int, salt: str) -> None:
        self.path = path
        self.row_bytes = row_bytes
        self._factors = _odd_numbers(salt, words(row_bytes))
        self._table, self.is_new = _mapped(path, (num_rows, words(row_bytes)))
        self._told = False

    def read(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return rows and which of them are sound.

        Args:
            index: (B,) int64 row numbers.

        Returns:
            (B, row_bytes) uint8, of any content where not sound; (B,) bool.
        """
        rows = self._table[index]
        sound = rows[:, 0] == self._checksums(index, rows)
        if not sound.all():
            self._tell_of_altered(int((rows[~sound, 0] != 0).sum()))
        return rows[:, 1:].view(np.uint8)[:, : self.row_bytes], sound

    def write(self, index: np.ndarray, data: np.ndarray) -> None:
        """Keep rows.

        Args:
            index: (B,) int64 row numbers.
            data: (B, row_bytes) uint8.
        """
        rows = np.zeros((len(index), self._table.shape[1]), np.uint64)
        rows[:, 1:].view(np.uint8)[:, : self.row_bytes] = data
        rows[:, 0] = self._checksums(index, rows)
        self._table[index] = rows

    def _checksums(self, index: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """One odd number per row, so never 0: sum of words times odd factors, modulo 2^64."""
        sums = (rows[:, 1:] * self._factors[1:]).sum(axis=1)
        sums += (index.astype(np.uint64) + np.uint64(1)) * self._factors[0]
        return (sums ^ (sums >> np.uint64(31))) * self._factors[0] | np.uint64(1)

    def _tell_of_altered(self, count: int) -> None:
        if count and not self._told:
            logger.warning("%s was altered; what does not fit is computed again.", self.path)
            self._told = True


def words(row_bytes: int) -> int:
    """Return the words that a row takes in the file, its checksum included."""
    return 1 - (-row_bytes // WORD)


def _mapped(path: Path, shape: tuple[int, int]) -> tuple[np.ndarray, bool]:
    """Map the file and tell whether it is new.

    Room is claimed at once, as a disk that is full later would kill the process. One process at a
    time: another one must not see, and mend, a file that is only just growing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    size = shape[0] * shape[1] * WORD
    with FileLock(path.parent / "lock"), path.open("ab") as file:
        found = file.tell()
        if found not in (0, size):
            logger.warning("%s has %d bytes, not %d; what is lost is computed.", path, found, size)
        try:
            _claim(file.fileno(), found, size, path)
        except OSError:
            os.ftruncate(file.fileno(), found)  # what it already got would fill the disk
            raise
    return np.memmap(path, np.uint64, "r+", shape=shape).view(np.ndarray), found == 0


def _claim(descriptor: int, found: int, size: int, path: Path) -> None:
    """Give the file its size and the blocks for it."""
    if found >= size:
        os.ftruncate(descriptor, size)
        return
    if shutil.disk_usage(path.parent).free - (size - found) < SPARED_BYTES:
        raise OSError(ENOSPC, f"less than {SPARED_BYTES / 2**30:g} GiB would be left on the disk")
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:  # macOS
        os.ftruncate(descriptor, size)


def _odd_numbers(salt: str, count: int) -> np.ndarray:
    drawn = hashlib.shake_128(salt.encode()).digest(WORD * count)
    return np.frombuffer(drawn, np.uint64) | np.uint64(1)
