"""Memory that a training gives back in every step is kept for the next one."""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
LARGEST_KEPT_BYTES = 32 * 2**20  # the most that glibc documents
MOST_KEPT_BYTES = 2**30


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
