"""One SHA-256 that stands for all the numbers of a dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from torch import Tensor

from distill_lab.contracts import Splits, Stored


def checksum(splits: Splits) -> str:
    """SHA-256, in hex, over dtype, shape and bytes of all tensors.

    Inputs in files are not read: their signature takes the place of their bytes.
    """
    return digest(
        {
            f"{split}.{part}": _array(values)
            for split, arrays in splits._asdict().items()
            for part, values in arrays._asdict().items()
            if values is not None
        }
    )


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256, in hex, over name, dtype, shape and bytes of each array, in order of name."""
    sha256 = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        sha256.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        sha256.update(array.data)
    return sha256.hexdigest()


def _array(values: Tensor | Stored) -> np.ndarray:
    if isinstance(values, Tensor):
        return values.numpy()
    return np.frombuffer(values.signature.encode(), np.uint8)
