"""Arrays from the first source that works, verified, and kept in a file that is verified too."""

from __future__ import annotations

import logging
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from lzma import LZMAError
from pathlib import Path

import numpy as np
from filelock import FileLock

from distill_lab.data.checksum import digest
from distill_lab.errors import DataError

logger = logging.getLogger(__name__)

NamedArrays = dict[str, np.ndarray]
Sources = Mapping[str, Callable[[], NamedArrays]]
"""Name -> function that gets the arrays, or raises DataError or OSError; in order of preference."""

# What reading a zip archive can raise, depending on which of its bytes is wrong.
_DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    LZMAError,
)


def fetch(path: Path, sha256: str, sources: Sources) -> NamedArrays:
    """Return the arrays kept in `path`; where it is missing or altered, get them and keep them.

    Safe among processes: one fetches, the others wait; a killed one leaves no half file.

    Args:
        path: of the .npz file; its folder is made where needed.
        sha256: `digest` of the arrays, whichever source they come from.
        sources: tried in order.

    Raises:
        DataError: every source failed, or the file cannot be written.
    """
    arrays = _read(path, sha256)
    if arrays is not None:
        return arrays
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            return _read(path, sha256) or _renew(path, sha256, sources)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error}). Name another folder.") from error


def _read(path: Path, sha256: str) -> NamedArrays | None:
    """The arrays in the file, or None where it is missing or not what the checksum says."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            arrays = dict(kept)
    except _DAMAGED:
        return None
    return arrays if digest(arrays) == sha256 else None


def _renew(path: Path, sha256: str, sources: Sources) -> NamedArrays:
    if path.exists():
        logger.warning("%s is altered or truncated; it is fetched again.", path)
    arrays = _first_that_works(path, sha256, sources)
    half = path.with_name(f"{path.name}.part")
    with half.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    os.replace(half, path)
    return arrays


def _first_that_works(path: Path, sha256: str, sources: Sources) -> NamedArrays:
    failures = []
    for name, get in sources.items():
        try:
            arrays = get()
            if digest(arrays) == sha256:
                return arrays
            failures.append(f"{name}: the arrays differ from the pinned checksum")
        except (DataError, OSError) as error:
            failures.append(f"{name}: {error}")
        logger.info("%s cannot be had from %s", path.name, failures[-1])
    raise DataError(
        f"{path}: every source failed:\n  "
        + "\n  ".join(failures)
        + f"\nRun once with a network, or copy {path.name} from a machine that has it."
    )
