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
from distill_lab.settings import Cache

logger = logging.getLogger(__name__)

LOGITS = "logits"


class AnswerCache:
    """Logits and features of one teacher under one way of making its inputs.

    One file per view for the logits and for each tap, one row per sample. The files are mapped into
    memory, so processes share them; see `RowFile` for what happens to rows that are half written or
    altered. Where the folder cannot be written, the cache says so and holds nothing: it saves time,
    and no result needs it.

    Args:
        folder: of this teacher and these inputs, see `stages/answers.py`; its name is the key.
        num_samples: N of the training split.
        num_classes: K.
        features: tap -> shape, batch axis included, of the features to be kept too.
        settings: number type, top-k and number of views.
        changing: whether a sample's inputs differ from view to view; if not, one view is kept.
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
        self._open: tuple[int, dict[str, RowFile]] = (-1, {})
        self._usable = True

    def holds(self, view: int) -> bool:
        """Tell whether answers about this view are kept."""
        within = self._limit is None or self._stored(view) < self._limit
        return within and bool(self._files(view))

    def read(self, index: Tensor, view: int) -> tuple[Output, Tensor]:
        """Return the answers that are kept.

        Args:
            index: (B,) sample numbers, on the CPU.
            view: one that the cache `holds`.

        Returns:
            Answers for all B, of any content where unknown; (B,) bool, which are known.
        """
        numbers = index.numpy()
        known = np.ones(len(numbers), bool)
        values = {}
        for part, file in self._files(view).items():
            rows, sound = file.read(numbers)
            known &= sound
            values[part] = self._packings[part].unpack(rows)
        self.num_read += int(known.sum())
        return self._output(values), torch.from_numpy(known)

    def write(self, index: Tensor, view: int, answers: Output) -> Output:
        """Keep answers and return them as they will be read.

        Args:
            index: (B,) sample numbers, on the CPU.
            view: one that the cache `holds`.
            answers: of the teacher, features included.

        Raises:
            ValueError: a value is too large for fp16.
        """
        given = {LOGITS: answers.logits}
        given |= {f"tap_{tap}": answers.features[tap].flatten(1) for tap in self._shapes}
        values = {}
        for part, file in self._files(view).items():
            rows = self._packings[part].pack(given[part])
            file.write(index.numpy(), rows)
            values[part] = self._packings[part].unpack(rows)
        self.num_computed += len(index)
        return self._output(values)

    def missing(self, view: int) -> int:
        """Count the samples about which nothing sound is kept in a view that the cache holds."""
        known = np.ones(self.num_samples, bool)
        for file in self._files(view).values():
            known &= file.read(np.arange(self.num_samples))[1]
        return int((~known).sum())

    @property
    def view_bytes(self) -> int:
        """Bytes of one view on disk."""
        row_words = sum(words(packing.row_bytes) for packing in self._packings.values())
        return self.num_samples * row_words * WORD

    @property
    def num_bytes(self) -> int:
        """Bytes of all files that there are now, of earlier runs too."""
        return sum(file.stat().st_size for file in self.folder.glob("*.rows"))

    def _stored(self, view: int) -> int:
        return view if self.changing else 0

    def _files(self, view: int) -> dict[str, RowFile]:
        """Return the files of a view by part; none where the folder cannot be used."""
        stored = self._stored(view)
        if self._open[0] != stored and self._usable:
            self._open = (-1, {})  # unmap the last view before the next
            try:
                self._open = (stored, {part: self._file(part, stored) for part in self._packings})
            except OSError as error:
                self._usable = False
                logger.warning(
                    "cache.folder: %s cannot be used (%s); the teacher runs in every step.",
                    self.folder,
                    error.strerror or error,
                )
        return self._open[1]

    def _file(self, part: str, view: int) -> RowFile:
        packing = self._packings[part]
        salt = f"{self.folder.name} {part} {view} {packing}"
        path = self.folder / f"{part}.{packing.form}.view_{view:04}.rows"
        return RowFile(path, self.num_samples, packing.row_bytes, salt)

    def _output(self, values: dict[str, Tensor]) -> Output:
        features = {
            tap: values[f"tap_{tap}"].view(-1, *shape) for tap, shape in self._shapes.items()
        }
        return Output(values[LOGITS], features)
