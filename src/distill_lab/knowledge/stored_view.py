"""The answers about one view on disk: a file per part."""

from __future__ import annotations

import numpy as np

from distill_lab.knowledge.rows import RowFile

Rows = dict[str, np.ndarray]
"""Part -> (B, row_bytes) uint8."""


class StoredView:
    """Rows of all parts by sample; a sample is known if the rows of all its parts are sound.

    Files that this process has just made are not looked into before its pass is finished.

    Args:
        files: by part; none where nothing can be kept.

    Attributes:
        is_blank: whether nothing is known, without a look.
    """

    def __init__(self, files: dict[str, RowFile]) -> None:
        self.files = files
        self.is_blank = all(file.is_new for file in files.values())

    def read(self, index: np.ndarray) -> tuple[Rows, np.ndarray] | None:
        """Return the rows of samples (B,) and (B,) bool, which are known; None where none is."""
        if self.is_blank:
            return None
        rows: Rows = {}
        known = np.ones(len(index), bool)
        for part, file in self.files.items():
            rows[part], sound = file.read(index)
            known &= sound
        return (rows, known) if known.any() else None

    def write(self, index: np.ndarray, rows: Rows) -> None:
        """Keep the rows of samples (B,)."""
        for part, file in self.files.items():
            file.write(index, rows[part])

    def finish_pass(self) -> None:
        """Take note that this process has been through all samples."""
        self.is_blank = not self.files
