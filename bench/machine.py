"""What the numbers were taken on, and whether anything else was running."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
from importlib.metadata import version
from pathlib import Path
from time import sleep
from typing import Any

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "numpy", "mlflow")
QUIET_CORES = 0.1  # busy cores of other programs at which a machine still counts as quiet
WATCH_SECONDS = 3.0


def environment() -> dict[str, Any]:
    """Return the machine and the versions."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gib": round(pages * size / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def commit() -> str:
    """Return the commit, with a mark where tracked files were changed."""
    root = Path(__file__).resolve().parents[1]

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=root, capture_output=True, text=True, check=False
        ).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    return (git("rev-parse", "HEAD") or "unknown") + (" with changes" if changed else "")


class Watch:
    """Processor time that others than this process and its children take, from now on."""

    def __init__(self) -> None:
        self._start = _seconds_of_all(), _seconds_of_ours(), _uptime()

    def others(self) -> float:
        """Return the mean number of cores that other programs kept busy so far."""
        all_, ours, up = self._start
        passed = max(1e-9, _uptime() - up)
        return max(0.0, (_seconds_of_all() - all_ - (_seconds_of_ours() - ours)) / passed)


def others_now() -> float:
    """Watch for some seconds and return the cores that other programs keep busy."""
    watch = Watch()
    sleep(WATCH_SECONDS)
    return watch.others()


def _seconds_of_all() -> float:
    """Busy seconds of all cores since the machine started: all but idle and waiting for disks."""
    numbers = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:]
    ticks = [int(number) for number in numbers]
    return (sum(ticks[:8]) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def _seconds_of_ours() -> float:
    """Processor seconds of this process and of the children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _uptime() -> float:
    return float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])


def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
