"""How long to wait for a server that says nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

SOCKET_SECONDS = 5.0
"""For one answer, so that an offline machine soon goes on."""


@contextmanager
def socket_timeout(seconds: float) -> Iterator[None]:
    """Bound each wait for the network: torchvision sets no limit, and Python's is none."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
