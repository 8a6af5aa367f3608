"""One SHA-256 that stands for all the numbers of a dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from distill_lab.contracts import Splits


def checksum(splits: Splits) -> str:
    """SHA-256, in hex, over dtype, shape and bytes of all six tensors."""
    return digest(
        {
            f"{split}.{part}": tensor.numpy()
            for split, arrays in splits._asdict().items()
            for part, tensor in arrays._asdict().items()
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
