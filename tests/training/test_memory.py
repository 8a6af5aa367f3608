from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from distill_lab.training import memory

FAULTS = """
import ctypes, resource
from distill_lab.training.memory import keep_freed_memory

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def faults(size):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        blocks = [libc.malloc(size) for _ in range(2)]
        for block in blocks:
            ctypes.memset(block, 1, size)
        for block in blocks:
            libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

# glibc learns from the largest block freed so far, hence larger ones afterwards.
before = faults(16 << 20)
keep_freed_memory()
keep_freed_memory()
faults(24 << 20)
print(before, faults(24 << 20))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators are left alone")
def test_freed_memory_is_taken_again_without_page_faults():
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True
    )
    before, after = map(int, done.stdout.split())
    assert before > 1000  # else this machine does not show what is to be cured
    assert after < before / 10


def test_without_glibc_nothing_is_called(monkeypatch):
    def refuse(name: None) -> None:
        raise AssertionError("libc was loaded")

    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(memory.ctypes, "CDLL", refuse)
    memory.keep_freed_memory()
