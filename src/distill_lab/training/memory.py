"""Memory that a training gives back in every step is kept for the next one."""

from __future__ import annotations

import ctypes
import platform
import re

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
LARGEST_KEPT_BYTES = 32 * 2**20  # the most that glibc documents
MOST_KEPT_BYTES = 2**30
OUT_OF_MEMORY = re.compile("out of memory|can't allocate memory|not enough memory", re.IGNORECASE)
"""In what torch says on a GPU and on a CPU; it has a class of its own for the first alone."""
ASKED_FOR = re.compile(r"[\d.]+ (?:bytes|[KMG]iB)")


def keep_freed_memory() -> None:
    """Let glibc reuse freed memory instead of handing it back to the kernel in every step.

    A step frees all its activations and gradients. By default glibc returns them, and the kernel
    clears each page anew in the next step: hundreds of thousands of page faults per epoch. Blocks
    under 32 MiB, and at most 1 GiB in all, now stay with the process. Larger blocks are returned as
    before, so that the peak grows by a few per cent at most. Where libc is not glibc, nothing is
    done.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)
    libc.mallopt(M_TRIM_THRESHOLD, MOST_KEPT_BYTES)


def out_of_memory(error: BaseException) -> str | None:
    """Return what to do where an error says that there is no memory left; None: it does not."""
    text = str(error)
    if not isinstance(error, MemoryError) and not OUT_OF_MEMORY.search(text):
        return None
    asked = ASKED_FOR.search(text)
    wanted = f" ({asked[0]} more were asked for)" if asked else ""
    return (
        f"there is no memory left{wanted}. Lower regime.batch_size or selection.regime.batch_size; "
        "with as much more of accumulate_batches each step stays as it is. Or run fewer jobs at "
        "once, or take a smaller network."
    )
