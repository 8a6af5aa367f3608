"""Arrays out of a pickle, and nothing else: no other code named in it is ever looked up."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from distill_lab.errors import DataError

# What numpy itself names in the pickle of an array; where that function lives moved in numpy 2.
_RECONSTRUCT = np.empty(0).__reduce__()[0]
_ADMITTED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
}


def unpickle_arrays(data: bytes) -> Any:
    """Return the lists, tuples, dicts, numbers and numpy arrays of a pickle, Python 2's included.

    Raises:
        DataError: it names anything but the reconstruction of a numpy array.
    """
    return _ArrayUnpickler(io.BytesIO(data), encoding="latin1").load()


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise DataError(f"the pickle asks for {module}.{name}; only numpy arrays are admitted.")
        return _ADMITTED[module, name]
