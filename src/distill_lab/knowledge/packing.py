"""Answers of a teacher as bytes: all values, or the largest logits and what the rest weigh."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

NumberType = Literal["fp32", "fp16"]
_NUMPY = {"fp32": np.float32, "fp16": np.float16}


@dataclass(frozen=True)
class AllValues:
    """Every value as it is (fp32) or rounded (fp16).

    Attributes:
        count: values per row.
        dtype: of the values as they are kept.
    """

    count: int
    dtype: NumberType

    @property
    def form(self) -> str:
        """Short text for file names."""
        return self.dtype

    @property
    def is_exact(self) -> bool:
        """Whether float32 values come back as they were."""
        return self.dtype == "fp32"

    @property
    def row_bytes(self) -> int:
        """Length of a packed row."""
        return self.count * np.dtype(_NUMPY[self.dtype]).itemsize

    def pack(self, values: Tensor) -> np.ndarray:
        """Return (B, row_bytes) uint8 of values (B, count).

        Raises:
            ValueError: a finite value is too large for fp16.
        """
        return _narrowed(values, self.dtype).view(np.uint8)

    def unpack(self, rows: np.ndarray) -> Tensor:
        """Return (B, count) float32 of rows (B, row_bytes)."""
        return _widened(rows, self.dtype)


@dataclass(frozen=True)
class TopLogits:
    """The largest logits, their classes, and the rest as one number.

    The rest get equal logits whose probabilities add up to what they had at temperature 1, so the
    probabilities of the kept classes are exact there and approximate elsewhere. Source: marginal
    smoothing of Shen & Xing 2021, arXiv:2112.01528, section 3.

    Attributes:
        num_classes: K.
        count: logits kept, in [1, K - 1].
        dtype: of the logits as they are kept.
    """

    num_classes: int
    count: int
    dtype: NumberType

    is_exact: ClassVar[bool] = False

    @property
    def form(self) -> str:
        """Short text for file names."""
        return f"top_{self.count}_{self.dtype}"

    @property
    def row_bytes(self) -> int:
        """Length of a packed row."""
        return self._kept.row_bytes + 4 + self.count * self._classes.itemsize

    def pack(self, values: Tensor) -> np.ndarray:
        """Return (B, row_bytes) uint8 of logits (B, K).

        Raises:
            ValueError: a finite logit is too large for fp16.
        """
        logits = values.float()
        largest = logits.topk(self.count, dim=1)
        rest = logits.scatter(1, largest.indices, -math.inf).logsumexp(dim=1, keepdim=True)
        classes = largest.indices.cpu().numpy().astype(self._classes)
        parts = (self._kept.pack(largest.values), _narrowed(rest, "fp32"), classes)
        return np.concatenate([part.view(np.uint8) for part in parts], axis=1)

    def unpack(self, rows: np.ndarray) -> Tensor:
        """Return (B, K) float32 of rows (B, row_bytes)."""
        ends = np.cumsum([self._kept.row_bytes, 4])
        kept, rest, classes = np.split(rows, ends, axis=1)
        each = _widened(rest, "fp32") - math.log(self.num_classes - self.count)
        where = torch.from_numpy(classes.copy().view(self._classes).astype(np.int64))
        return each.repeat(1, self.num_classes).scatter(1, where, self._kept.unpack(kept))

    @property
    def _kept(self) -> AllValues:
        return AllValues(self.count, self.dtype)

    @property
    def _classes(self) -> np.dtype:
        return np.dtype(np.uint16 if self.num_classes <= 2**16 else np.uint32)


Packing = AllValues | TopLogits


def packing_of_logits(num_classes: int, top_k: int | None, dtype: NumberType) -> Packing:
    """Return how logits over K classes are kept; `top_k` of K or more, or None, keeps all."""
    if top_k is None or top_k >= num_classes:
        return AllValues(num_classes, dtype)
    return TopLogits(num_classes, top_k, dtype)


def _narrowed(values: Tensor, dtype: NumberType) -> np.ndarray:
    wide = values.detach().float().cpu().contiguous().numpy()
    if dtype == "fp32":
        return wide
    with np.errstate(over="ignore"):  # told of below
        narrow = wide.astype(np.float16)
    if not np.array_equal(np.isfinite(narrow), np.isfinite(wide)):
        largest = np.abs(wide[np.isfinite(wide)]).max()
        raise ValueError(
            f"cache.dtype: fp16 holds at most {np.finfo(np.float16).max:,.0f}, but a teacher says "
            f"{largest:.4g}. Use cache.dtype=fp32."
        )
    return narrow


def _widened(rows: np.ndarray, dtype: NumberType) -> Tensor:
    narrow = rows.copy().view(_NUMPY[dtype])
    return torch.from_numpy(narrow.astype(np.float32, copy=False))
