from __future__ import annotations

import hashlib
import sys
import zipfile
from pathlib import Path

import pytest

from distill_lab.data import wheel as wheel_module
from distill_lab.data.wheel import download, fetch_member, read_member
from distill_lab.errors import DataError

MEMBER = "toy/data/numbers.bin"


@pytest.fixture
def toy_wheel(tmp_path) -> Path:
    path = tmp_path / "index" / "toy_numbers-1.0-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, b"\x01\x02")
        archive.writestr("toy/__init__.py", "raise SystemExit('code of the wheel was run')")
        info = "toy_numbers-1.0.dist-info"
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: toy-numbers\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def no_network(monkeypatch, toy_wheel):
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(toy_wheel.parent))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_is_read_out_of_the_pinned_wheel(toy_wheel):
    assert read_member(toy_wheel, sha256(toy_wheel), MEMBER) == b"\x01\x02"


def test_an_altered_wheel_is_refused_and_named(toy_wheel):
    pinned = sha256(toy_wheel)
    toy_wheel.write_bytes(toy_wheel.read_bytes() + b"\x00")
    with pytest.raises(DataError, match=f"{toy_wheel.name}: SHA-256 must be {pinned}, got"):
        read_member(toy_wheel, pinned, MEMBER)


def test_a_truncated_wheel_is_refused_even_if_it_was_pinned(toy_wheel):
    toy_wheel.write_bytes(toy_wheel.read_bytes()[:-40])
    with pytest.raises(DataError, match=f"cannot read {MEMBER}"):
        read_member(toy_wheel, sha256(toy_wheel), MEMBER)


def test_a_file_that_is_not_in_the_wheel_is_named(toy_wheel):
    with pytest.raises(DataError, match="cannot read toy/none"):
        read_member(toy_wheel, sha256(toy_wheel), "toy/none")


def test_pip_downloads_without_installing_or_running_code(no_network, toy_wheel):
    assert fetch_member("toy-numbers==1.0", sha256(toy_wheel), MEMBER) == b"\x01\x02"


def test_the_last_line_of_pip_is_the_reason(no_network, tmp_path):
    with pytest.raises(DataError, match=r"No matching distribution found for toy-numbers==2\.0"):
        download("toy-numbers==2.0", tmp_path / "empty")


def test_a_missing_pip_is_the_reason(monkeypatch, tmp_path):
    broken = tmp_path / "python"
    broken.write_text(f"#!/bin/sh\nexec {sys.executable} -S -m absent\n")
    broken.chmod(0o755)
    monkeypatch.setattr(wheel_module.sys, "executable", str(broken))
    with pytest.raises(DataError, match="No module named absent"):
        download("toy-numbers==1.0", tmp_path / "empty")


def test_a_pip_that_hangs_is_stopped(monkeypatch, tmp_path):
    slow = tmp_path / "python"
    slow.write_text("#!/bin/sh\nexec sleep 30\n")
    slow.chmod(0o755)
    monkeypatch.setattr(wheel_module.sys, "executable", str(slow))
    monkeypatch.setattr(wheel_module, "LIMIT_SECONDS", 0.1)
    with pytest.raises(DataError, match=r"pip took more than 0\.1 s"):
        download("toy-numbers==1.0", tmp_path / "empty")
