"""The bench's side of a loop that runs in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SCRATCH = ROOT / ".bench"
PEER_VENV = SCRATCH / "torchdistill"
PEER = "torchdistill==1.1.5"
MODULES = {"bare": "bench.bare", "ours": "bench.ours", "torchdistill": "bench.peer"}


class Worker:
    """A process that waits for its turn; its memory and allocator are shared with no other loop.

    Args:
        loop: e.g. bare_student or ours_cached.
        given: what it is told, as plain values.

    Raises:
        RuntimeError: it did not get ready; holds the end of what it printed.
    """

    def __init__(self, loop: str, given: dict[str, Any]) -> None:
        self.loop = loop
        family = loop.partition("_")[0]
        python = PEER_VENV / "bin" / "python" if family == "torchdistill" else sys.executable
        SCRATCH.mkdir(exist_ok=True)
        self.log = SCRATCH / f"{loop}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [str(python), "-m", MODULES[family], loop, json.dumps(given)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": "src"},
            )
        self._answer()  # that it is ready

    def repeat(self) -> dict[str, Any]:
        """Let it train and return what it says.

        Raises:
            RuntimeError: it ended instead.
        """
        assert self.process.stdin is not None  # a pipe, see above
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End it: it leaves at the end of its input."""
        self.process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None  # a pipe, see above
        line = self.process.stdout.readline()
        if not line:
            self.close()
            end = self.log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise RuntimeError(
                f"{self.loop} ended with exit code {self.process.returncode}:\n{end}"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer


def install_peer() -> None:
    """Make the environment of torchdistill, with our versions of torch, unless it is there."""
    done, pins = PEER_VENV / ".installed", ROOT / "constraints.txt"
    wanted = f"{PEER}\n{pins.read_text(encoding='utf-8')}"
    if done.exists() and done.read_text(encoding="utf-8") == wanted:
        return
    print(f"  installing {PEER} into {PEER_VENV.relative_to(ROOT)}; takes minutes", flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(PEER_VENV)], check=True)
    pip = [str(PEER_VENV / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "-c", str(pins), PEER], check=True)
    done.write_text(wanted, encoding="utf-8")
