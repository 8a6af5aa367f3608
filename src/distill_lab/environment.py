"""What a result may depend on besides the config: commit, versions, who ran it."""

from __future__ import annotations

import getpass
import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "transformers",
    "pytorch-lightning",
    "hydra-core",
    "mlflow",
    "numpy",
)
SOURCE = (":(top)", ":(top,exclude)experiments/*/results*.json")
"""Git's path patterns of what a result may depend on: all files but results themselves."""


@cache
def environment() -> dict[str, str]:
    """Return it as tags of a run."""
    versions = {f"version.{name}": metadata.version(name) for name in PACKAGES}
    commit = _git("rev-parse", "HEAD")
    if commit and _git("status", "--porcelain", "--untracked-files=no", "--", *SOURCE):
        commit += " with changes"
    return {
        "mlflow.user": getpass.getuser(),
        "mlflow.source.name": "distill-lab",
        "mlflow.source.git.commit": commit or "unknown",
        "version.python": platform.python_version(),
        "machine": _machine(),
        **versions,
    }


def _machine() -> str:
    """Return what times depend on: the processor, as far as it is told, and the cores."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{next(named, platform.machine())}, {os.cpu_count()} cores"


def _git(*words: str) -> str:
    folder = Path(__file__).parent
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
