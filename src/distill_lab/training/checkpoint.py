"""The file in which a training that is not finished is kept."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

logger = logging.getLogger(__name__)

NUM_DIGITS = 64  # of the SHA-256 in hex, with which the file begins


@dataclass(frozen=True)
class Checkpoint:
    """Plain values and tensors behind their SHA-256: torch's own file has no checksum of its own.

    A training does not need it: where the disk is full or the folder cannot be written to, it says
    so and goes on without.

    Attributes:
        path: of the file; its name says which training it is of.
        every_seconds: between two saves, > 0.
        found: called by `read` when there is something to go on with.
    """

    path: Path
    every_seconds: float
    found: Callable[[], None] = lambda: None

    def read(self) -> dict[str, Any] | None:
        """Return what was written last; None where there is nothing, or it was altered."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn(f"cannot be read ({error.strerror or error}); the training begins anew")
            return None
        digest, payload = content[:NUM_DIGITS], content[NUM_DIGITS:]
        if hashlib.sha256(payload).hexdigest().encode() != digest:
            self._warn("does not have its SHA-256, it is cut or altered; the training begins anew")
            return None
        try:
            saved: dict[str, Any] = torch.load(
                io.BytesIO(payload), map_location="cpu", weights_only=True
            )
        except pickle.UnpicklingError:
            self._warn("asks for code, which no checkpoint of ours does; the training begins anew")
            return None
        self.found()
        return saved

    def write(self, values: dict[str, Any]) -> None:
        """Put the values in the place of those before, whole or not at all."""
        buffer = io.BytesIO()
        torch.save(values, buffer)
        payload = buffer.getbuffer()
        unfinished = self.path.with_suffix(f".{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as file:
                file.write(hashlib.sha256(payload).hexdigest().encode())
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, self.path)
        except OSError as error:
            self._warn(f"cannot be written ({error.strerror or error}); training goes on without")
            self._remove(unfinished)

    def remove(self) -> None:
        """Delete the file, if there is one, and its folder, if it was the last in it."""
        self._remove(self.path)
        with suppress(OSError):  # there are others in it
            self.path.parent.rmdir()

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self._warn(f"cannot be deleted ({error.strerror or error})")

    def _warn(self, what: str) -> None:
        logger.warning("\nhardware.checkpoint_minutes: %s %s.", self.path, what)
