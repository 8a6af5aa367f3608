from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
from filelock import FileLock

from distill_lab.errors import ConfigError, RunError
from distill_lab.tracking import postgres, server
from distill_lab.tracking.server import Asked, asked, serve


@pytest.fixture
def installed(monkeypatch):
    """PostgreSQL is taken to be there; nothing of it is run."""
    monkeypatch.setattr(postgres, "programs", lambda: Path("/nowhere"))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_what_is_not_ours_is_handed_on_to_mlflow():
    found = asked(["--folder", "here", "--port=5005", "--app-name", "basic-auth"])
    assert found == Asked(Path("here"), "127.0.0.1", 5005, ["--app-name", "basic-auth"])
    assert asked([]).address == "http://127.0.0.1:5001"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--port", "many"], "must be in 1..65535, got 'many'"),
        (["--port", "65536"], "must be in 1..65535"),
        (["--folder"], "--folder needs a value"),
    ],
)
def test_a_wrong_option_is_told(words, told):
    with pytest.raises(ConfigError, match=told):
        asked(words)


def test_a_port_that_is_taken_is_told(installed, workdir):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ConfigError, match=r"already in use.*another --port"):
            serve(Asked(workdir / "server", port=other.getsockname()[1]))


def test_a_folder_in_which_a_server_runs_is_told(installed, workdir):
    with (
        FileLock(workdir / "server.lock"),
        pytest.raises(ConfigError, match="a server is running in it"),
    ):
        serve(Asked(workdir, port=free_port()))


def test_a_folder_that_cannot_be_made_is_told(installed, workdir):
    (workdir / "file").touch()
    with pytest.raises(ConfigError, match="Not a directory"):
        serve(Asked(workdir / "file" / "server", port=free_port()))


def test_a_path_that_is_too_long_for_a_socket_is_told(installed, workdir):
    with pytest.raises(ConfigError, match="too long a path"):
        serve(Asked(workdir / ("x" * 100), port=free_port()))


def test_a_machine_without_postgresql_is_told_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(postgres, "find_spec", lambda name: object())
    monkeypatch.setattr(postgres, "DEBIAN", tmp_path)
    monkeypatch.setattr(postgres.shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match="apt-get install postgresql"):
        postgres.programs()
    monkeypatch.setattr(postgres, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'distill-lab\[postgres\]'"):
        postgres.programs()


def test_of_several_versions_the_newest_is_taken(monkeypatch, tmp_path):
    for version in ("9.6", "15", "17"):
        (tmp_path / version / "bin").mkdir(parents=True)
        (tmp_path / version / "bin" / "initdb").touch()
    (tmp_path / "18" / "bin").mkdir(parents=True)  # its client alone
    monkeypatch.setattr(postgres, "find_spec", lambda name: object())
    monkeypatch.setattr(postgres, "DEBIAN", tmp_path)
    assert postgres.programs() == tmp_path / "17" / "bin"


def test_a_program_that_did_not_start_is_told_with_what_it_said_last(tmp_path):
    (tmp_path / "postgres.log").write_text("all is well\n")
    (tmp_path / "mlflow.log").write_text("no such option\n")
    os.utime(tmp_path / "postgres.log", (0, 0))
    told = r"did not start. The end of .*mlflow.log:\n  no such option"
    with pytest.raises(RunError, match=told), server._logs_told(tmp_path):
        raise RunError("server: MLflow did not start")


def test_others_may_go_through_the_folder_and_see_nothing_of_it(workdir):
    with server._only_one(workdir / "server"):
        assert stat.S_IMODE((workdir / "server").stat().st_mode) == 0o711


def test_a_folder_that_was_there_stays_as_open_as_it_is(workdir):
    workdir.chmod(0o1777)
    with server._only_one(workdir):
        assert stat.S_IMODE(workdir.stat().st_mode) == 0o1777


def test_what_fails_while_the_server_runs_is_no_fault_of_its_folder(workdir):
    with pytest.raises(FileNotFoundError), server._only_one(workdir):
        raise FileNotFoundError(2, "No such file or directory", "pg_ctl")
    with server._only_one(workdir):
        pass  # it is free again


def test_settings_of_the_login_that_were_edited_stay(workdir):
    file = Path(server._login(workdir)["MLFLOW_AUTH_CONFIG_PATH"])
    assert "default_permission = READ\n" in file.read_text()
    file.write_text("[mlflow]\ndefault_permission = NO_PERMISSIONS\n")
    server._login(workdir)
    assert "NO_PERMISSIONS" in file.read_text()


def test_a_proxy_is_not_asked_whether_the_server_answers(monkeypatch):
    class Health(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words):
            pass

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr(server, "START_SECONDS", 1.0)
    with HTTPServer(("127.0.0.1", 0), Health) as answering:
        Thread(target=answering.handle_request, daemon=True).start()
        server._wait(SimpleNamespace(poll=lambda: None), Asked(port=answering.server_port))


def test_a_process_that_does_not_end_by_itself_is_ended(monkeypatch):
    monkeypatch.setattr(server, "STOP_SECONDS", 0.5)
    deaf = ["python3", "-c", "import signal, time; signal.signal(15, lambda *_: 0); time.sleep(60)"]
    process = subprocess.Popen(deaf, start_new_session=True)
    server._stop(process)
    assert process.poll() is not None


def test_a_process_that_is_not_waited_for_is_ended_at_once(monkeypatch):
    def interrupted(seconds):
        raise KeyboardInterrupt

    deaf = ["sh", "-c", "trap '' TERM; echo; sleep 60"]
    with subprocess.Popen(deaf, stdout=subprocess.PIPE, start_new_session=True) as process:
        process.stdout.readline()
        with monkeypatch.context() as patch:
            patch.setattr(process, "wait", interrupted)
            with pytest.raises(KeyboardInterrupt):
                server._stop(process)
        assert process.wait(5) == -signal.SIGKILL
