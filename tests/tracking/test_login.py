"""MLflow's own login: who may in, and where the password is afterwards: nowhere."""

from __future__ import annotations

import base64
import os
import subprocess
import sys

import pytest

from distill_lab.tracking.postgres import OWNER, programs
from tests.faults.conftest import TINY
from tests.tracking.serving import require_login, served

pytestmark = pytest.mark.slow

PASSWORD = "geheim-und-lang-genug-7"


def run(folder, *words, **login):
    done = subprocess.run(
        [sys.executable, "-m", "distill_lab", *TINY, "tracking=server", *words],
        cwd=folder,
        env={**os.environ, **login, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def dump(server):
    """Return all that the server's database has, as text."""
    where = ["-h", str(server.folder / "socket"), "-U", OWNER]
    words = [str(programs() / "pg_dump"), *where, "mlflow"]
    return subprocess.run(words, capture_output=True, check=True).stdout


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_run_with_a_login_is_admitted_and_its_password_is_nowhere(workdir):
    require_login()
    secrets = {"MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD, "MLFLOW_FLASK_SERVER_SECRET_KEY": "x" * 20}
    with served("--app-name", "basic-auth", **secrets) as server:
        uri = f"tracking.uri={server.address}"
        code, told = run(workdir, uri)
        assert code == 2
        assert "MLFLOW_TRACKING_USERNAME" in told
        login = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": PASSWORD}
        code, told = run(workdir, uri, **login)
        assert code == 0, told
        with_password = server.address.replace("//", f"//admin:{PASSWORD}@")
        code, refused = run(workdir, f"tracking.uri={with_password}")
        assert code == 2
        assert "must have no password" in refused
        kept = dump(server)
        assert b"data_checksum" in kept
        everything = [kept, told.encode(), refused.encode()]
        everything += [path.read_bytes() for path in files(server.folder) + files(workdir)]
        everything.append(server.log.read_bytes())
        assert len(everything) > 50
        as_sent = base64.b64encode(b"admin:" + PASSWORD.encode())
        for secret in (PASSWORD.encode(), as_sent):
            assert not any(secret in content for content in everything)
