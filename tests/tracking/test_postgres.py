"""The database's programs, stood in for by scripts: who is told what, and who is ended."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from distill_lab.tracking import postgres

TOLD = "#!/bin/sh\nenv > {}\n"


@pytest.fixture
def data(tmp_path):
    """A folder of a database."""
    folder = tmp_path / "database"
    folder.mkdir()
    return folder


@pytest.fixture
def noted(data):
    """Writes down that a process has the database."""
    begun = []

    def go(program, folder):
        process = subprocess.Popen([program, "60"], cwd=folder)
        begun.append(process)
        (data / "postmaster.pid").write_text(f"{process.pid}\n{data}\n")

    yield go
    for process in begun:
        process.kill()
        process.wait()


def test_a_database_that_was_left_running_is_known(noted, data, tmp_path):
    program = shutil.copy(shutil.which("sleep"), tmp_path / "postgres")
    noted(program, data)
    assert postgres._runs(data)


def test_a_database_of_another_folder_is_let_be(noted, data, tmp_path):
    program = shutil.copy(shutil.which("sleep"), tmp_path / "postgres")
    noted(program, tmp_path)
    postgres._end_orphan(tmp_path / "no programs", data, None)


def test_a_stranger_that_got_the_number_of_a_database_is_let_be(noted, data, tmp_path):
    noted("sleep", data)
    postgres._end_orphan(tmp_path / "no programs", data, None)


@pytest.mark.parametrize("text", ["", "none\n", f"{2**22 + 1}\n"])  # more than any process has
def test_a_note_that_names_no_process_is_no_database(data, text, tmp_path):
    (data / "postmaster.pid").write_text(text)
    postgres._end_orphan(tmp_path / "no programs", data, None)


def test_the_database_is_not_told_passwords_of_mlflow(monkeypatch, tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, then in {"initdb": "", "postgres": "exec sleep 60\n"}.items():
        (programs / name).write_text(TOLD.format(tmp_path / name) + then)
        (programs / name).chmod(0o700)

    def wait(process, socket):
        while "sleep" not in os.readlink(f"/proc/{process.pid}/exe"):
            time.sleep(0.01)

    monkeypatch.setattr(postgres, "programs", lambda: programs)
    monkeypatch.setattr(postgres, "_require_databases", wait)
    monkeypatch.setattr(postgres.os, "geteuid", lambda: 1000)
    monkeypatch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", "geheim")
    with (tmp_path / "log").open("wb") as log, postgres.running(tmp_path, log):
        told = [(tmp_path / name).read_text() for name in ("initdb", "postgres")]
    assert all("PATH=" in text for text in told)
    assert not any("geheim" in text for text in told)


def test_the_databases_are_made_from_one_that_is_always_there(monkeypatch, tmp_path):
    asked = []

    def connect(**where):
        asked.append(where)
        raise StopIteration

    fake = SimpleNamespace(connect=connect, OperationalError=OSError)
    monkeypatch.setitem(sys.modules, "psycopg", fake)
    with pytest.raises(StopIteration):
        postgres._require_databases(SimpleNamespace(poll=lambda: None), tmp_path)
    assert asked[0]["dbname"] == "postgres"
