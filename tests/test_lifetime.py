"""What a process has started ends with it, even if it could do nothing about that."""

from __future__ import annotations

import subprocess
import sys

import pytest

DECODES = """
import os, signal, sys, time
from distill_lab.data.decode import Decoder, Request
from distill_lab.data.workers import Workers

if __name__ == "__main__":
    batches = Workers(Decoder(3, 4, 4), 1).decoded([Request([sys.argv[1]], None)] * 6, 6)
    next(batches)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_processes_that_decode_end_with_a_program_that_is_killed(tmp_path):
    from PIL import Image

    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "decodes.py").write_text(DECODES)
    command = [sys.executable, str(tmp_path / "decodes.py"), str(tmp_path / "a.png")]
    # What they print goes to the same pipe, whose end is only seen when the last of them is gone.
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == -9
