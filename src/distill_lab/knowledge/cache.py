"""What a teacher said, kept by (sample, view) in files that all runs on this teacher share."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from distill_lab.contracts import Output, Shapes
from distill_lab.knowledge.packing import AllValues, Packing, packing_of_logits
from distill_lab.knowledge.rows import WORD, RowFile, words
from distill_lab.knowledge.stored_view import Rows, StoredView
from distill_lab.settings import Cache

logger = logging.getLogger(__name__)

CHUNK = 2**14  # rows that are looked through at once
WHOLE_BYTES = 2**26
"""Of a view that is read as a whole when it is opened; step by step takes several times as long."""
WAITING_BYTES = 2**22
"""Of answers that wait to be written together, which takes a fraction of the time."""
LOGITS = "logits"


class AnswerCache:
    """Logits and features of one teacher under one way of making its inputs.

    One file per view for the logits and for each tap, one row per sample. The files are mapped into
    memory, so processes share them; see `RowFile` for what happens to rows that are half written or
    altered. Where the folder cannot be used, the cache says so and keeps nothing, but answers are
    rounded as they would be: no result depends on whether there was room.

    Args:
        folder: of this teacher and these inputs, see `stages/answers.py`; its name is the key.
        num_samples: N of the training split.
        num_classes: K.
        features: tap -> shape, batch axis included, of the features to be kept too.
        settings: number type, top-k and number of views.
        changing: whether a sample's inputs differ from view to view; if not, one view is kept.

    Attributes:
        num_read: answers that were read.
        num_computed: answers that the teacher had to give.
    """

    def __init__(
        self,
        folder: Path,
        num_samples: int,
        num_classes: int,
        features: Shapes,
        settings: Cache,
        changing: bool,
    ) -> None:
        self.folder = folder
        self.num_samples = num_samples
        self.changing = changing
        self.num_read = 0
        self.num_computed = 0
        self._limit = settings.views
        self._shapes = {tap: shape[1:] for tap, shape in features.items()}
        self._packings: dict[str, Packing] = {
            LOGITS: packing_of_logits(num_classes, settings.top_k, settings.dtype)
        }
        for tap, shape in self._shapes.items():
            self._packings[f"tap_{tap}"] = AllValues(math.prod(shape), settings.dtype)
        self._is_exact = all(packing.is_exact for packing in self._packings.values())
        self._open = (-1, StoredView({}))  # number of the view, and its files
        self._whole: Output | None = None  # all answers about the open view, if all are known
        self._usable = True
        self._waiting: list[tuple[Tensor, Output]] = []
        self._num_waiting = 0
        self._may_wait = WAITING_BYTES * num_samples // self.view_bytes

    def holds(self, view: int) -> bool:
        """Tell whether answers about this view are to be kept."""
        return self._limit is None or self._stored(view) < self._limit

    def read(self, index: Tensor, view: int) -> tuple[Output, Tensor | None] | None:
        """Return the answers that are kept.

        Args:
            index: (B,) sample numbers, on the CPU.
            view: one that the cache `holds`.

        Returns:
            Answers for all B, of any content where unknown, and (B,) bool, which are known, or None
            for all. None where none is.
        """
        stored = self._view(view)
        if stored.is_blank:
            return None
        if self._whole is not None:
            self.num_read += len(index)
            features = {tap: value[index] for tap, value in self._whole.features.items()}
            return Output(self._whole.logits[index], features), None
        found = stored.read(index.numpy())
        if found is None:
            return None
        rows, known = found
        self.num_read += int(np.count_nonzero(known))
        return self._unpacked(rows), torch.from_numpy(known)

    def write(self, index: Tensor, view: int, answers: Output) -> Output:
        """Keep answers and return them as they will be read once the pass is finished.

        Args:
            index: (B,) sample numbers, on the CPU.
            view: one that the cache `holds`.
            answers: of the teacher, float32, features included.

        Raises:
            ValueError: a value is too large for fp16.
        """
        stored = self._view(view)
        self.num_computed += index.shape[0]
        if stored.files:
            self._waiting.append((index, answers))
            self._num_waiting += index.shape[0]
            if self._num_waiting > self._may_wait:
                self._store()
        return answers if self._is_exact else self._unpacked(self._packed(answers))

    def finish_pass(self) -> None:
        """Write what still waits to be written, at the end of a pass over the samples."""
        self._store()
        self._open[1].finish_pass()
        if not self.changing and self._whole is None:  # the next pass reads this view again
            self._whole = self._all_of(self._open[1])

    def _store(self) -> None:
        if not self._waiting:
            return
        index = torch.cat([index for index, _ in self._waiting])
        logits = torch.cat([answers.logits for _, answers in self._waiting])
        features = {
            tap: torch.cat([answers.features[tap] for _, answers in self._waiting])
            for tap in self._shapes
        }
        self._waiting, self._num_waiting = [], 0
        self._open[1].write(index.numpy(), self._packed(Output(logits, features)))

    def _packed(self, answers: Output) -> Rows:
        values = {LOGITS: answers.logits}
        values |= {f"tap_{tap}": answers.features[tap].flatten(1) for tap in self._shapes}
        return {part: packing.pack(values[part]) for part, packing in self._packings.items()}

    def missing(self, view: int, samples: Tensor) -> int:
        """Count the samples that a view could hold sound answers about and does not.

        Args:
            view: number of the augmentation.
            samples: (M,) int64, the numbers that are asked about.
        """
        stored = self._view(view)
        self.finish_pass()
        if not stored.files:
            return 0
        parts = np.array_split(samples.numpy(), len(samples) // CHUNK + 1)
        found = map(stored.read, parts)
        return len(samples) - sum(int(f[1].sum()) for f in found if f is not None)

    @property
    def view_bytes(self) -> int:
        """Bytes of one view on disk."""
        row_words = sum(words(packing.row_bytes) for packing in self._packings.values())
        return self.num_samples * row_words * WORD

    @property
    def num_bytes(self) -> int:
        """Bytes of all files that there are now, of earlier runs too."""
        sizes = (_size(file) for file in self.folder.glob("*.rows"))
        return sum(sizes)

    def _stored(self, view: int) -> int:
        return view if self.changing else 0

    def _view(self, view: int) -> StoredView:
        """Return a view's files; none where the folder cannot be used."""
        stored = self._stored(view)
        if self._open[0] != stored:
            self.finish_pass()
            self._open = (-1, StoredView({}))  # unmap the last view before the next
            self._open = (stored, StoredView(self._files(stored)))
            self._whole = self._all_of(self._open[1])
        return self._open[1]

    def _all_of(self, view: StoredView) -> Output | None:
        """Return all answers of a view; None where one is unknown or they take too much memory."""
        if self.view_bytes > WHOLE_BYTES:
            return None
        found = view.read(np.arange(self.num_samples))
        return self._unpacked(found[0]) if found is not None and found[1].all() else None

    def _files(self, stored: int) -> dict[str, RowFile]:
        try:
            return {part: self._file(part, stored) for part in self._packings if self._usable}
        except OSError as error:
            self._usable = False
            logger.warning(
                "\ncache.folder: %s cannot be used (%s); the teacher runs in every step.",
                self.folder,
                error.strerror or error,
            )
            return {}

    def _file(self, part: str, view: int) -> RowFile:
        packing = self._packings[part]
        salt = f"{self.folder.name} {part} {view} {packing}"
        path = self.folder / f"{part}.{packing.form}.view_{view:04}.rows"
        return RowFile(path, self.num_samples, packing.row_bytes, salt)

    def _unpacked(self, rows: Rows) -> Output:
        values = {part: packing.unpack(rows[part]) for part, packing in self._packings.items()}
        features = {
            tap: values[f"tap_{tap}"].view(-1, *shape) for tap, shape in self._shapes.items()
        }
        return Output(values[LOGITS], features)


def _size(file: Path) -> int:
    """Return the bytes of a file, 0 if it was deleted just now."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
