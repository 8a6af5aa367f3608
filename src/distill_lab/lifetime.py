"""No process that this program starts outlives the one that started it, however that one ends."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.connection import wait
from threading import Thread


def end_with_parent() -> None:
    """Have this process end as soon as the one that asked for it has.

    A forkserver is the parent that the system knows of, and lives as long as what it has started.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
