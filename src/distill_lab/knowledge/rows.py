"""A file of rows of equal length, mapped into memory; every row carries a checksum of its own."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

import numpy as np

logger = logging.getLogger(__name__)

WORD = 8  # bytes; rows are kept in whole words, the first of which is the checksum


class RowFile:
    """Rows by number, written in any order by any number of processes.

    A row whose checksum does not fit is one that was never written, was cut off, was altered, or is
    being written just now; it counts as missing. So no lock is needed, and a process that is killed
    while it writes leaves nothing wrong behind.

    Args:
        path: made where it is missing, with room for all rows.
        num_rows: rows that there can be.
        row_bytes: length of one row.
        salt: text that the checksums depend on: rows of another salt count as missing.

    Raises:
        OSError: the file cannot be made, there is no room for it, or it cannot be written.
    """

    def __init__(self, path: Path, num_rows: int, row_bytes: int, salt: str) -> None:
        self.path = path
        self.row_bytes = row_bytes
        self._factors = _odd_numbers(salt, words(row_bytes))
        self._table = _mapped(path, (num_rows, words(row_bytes)))

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
        self._table[index, 1:] = rows[:, 1:]
        self._table[index, 0] = self._checksums(index, rows)  # last: now the rows are sound

    def _checksums(self, index: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """One odd number per row, so never 0: sum of words times odd factors, modulo 2^64.

        A change of one word always shows, as an odd factor can be divided by.
        """
        sums = (rows[:, 1:] * self._factors[1:]).sum(axis=1)
        sums += (index.astype(np.uint64) + np.uint64(1)) * self._factors[0]
        return (sums ^ (sums >> np.uint64(31))) * self._factors[0] | np.uint64(1)

    def _tell_of_altered(self, count: int) -> None:
        if count:
            logger.warning("%s: %d altered rows are computed again.", self.path, count)


def words(row_bytes: int) -> int:
    """Return the words that a row takes in the file, its checksum included."""
    return 1 - (-row_bytes // WORD)


def _mapped(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Map the file; new room is claimed at once, as a full disk would kill a later write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = shape[0] * shape[1] * WORD
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        found = os.fstat(descriptor).st_size
        if found not in (0, size):
            logger.warning("%s has %d bytes, not %d; what is lost is computed.", path, found, size)
            os.ftruncate(descriptor, min(found, size))
        if found < size:
            os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)
    return np.memmap(path, np.uint64, "r+", shape=shape).view(np.ndarray)


def _odd_numbers(salt: str, count: int) -> np.ndarray:
    drawn = hashlib.shake_128(salt.encode()).digest(WORD * count)
    return np.frombuffer(drawn, np.uint64) | np.uint64(1)
