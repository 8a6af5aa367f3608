"""Files out of packages of Debian, which are neither installed nor run."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from distill_lab.data.wheel import LIMIT_SECONDS
from distill_lab.errors import DataError


@contextmanager
def unpacked(packages: Sequence[str]) -> Iterator[Path]:
    """Let apt download packages, which needs no root, and unpack them into a temporary folder.

    Yields:
        The folder, which stands for the root of the system.

    Raises:
        DataError: apt cannot download one, or one cannot be unpacked.
        OSError: there is no apt.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        _call(folder, "apt-get", "--quiet", "download", *packages)
        for package in sorted(folder.glob("*.deb")):
            _call(folder, "dpkg-deb", "--extract", package.name, ".")
        yield folder


def _call(folder: Path, *command: str) -> None:
    """Run a command in a folder; its last line of complaint is the reason where it fails."""
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(f"{command[0]} took more than {LIMIT_SECONDS} s.") from error
    if done.returncode != 0:
        raise DataError((done.stderr.strip() or f"{command[0]} failed").splitlines()[-1])
