from __future__ import annotations

import os
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
import requests
from mlflow.exceptions import MlflowException

from distill_lab.errors import ConfigError, RunError
from distill_lab.tracking import run as run_module
from distill_lab.tracking.failures import refusals_told
from distill_lab.tracking.patience import RETRIES, at_once, be_patient, is_away, twice
from distill_lab.tracking.run import TrackedRun
from distill_lab.tracking.store import Store

NOWHERE = "http://127.0.0.1:9"  # the port of a service that throws away; nobody has it


def away():
    """What MLflow raises where nobody answers."""
    try:
        try:
            raise requests.ConnectionError("connection refused")
        except requests.ConnectionError:
            raise MlflowException("API request failed")  # noqa: B904 - as MLflow does it
    except MlflowException as error:
        return error


class Flaky:
    """A client whose server is away for as many batches, and keeps all others."""

    def __init__(self, num_away, error=None):
        self.num_away = num_away
        self.error = error or away()
        self.steps = []
        self.ended = None
        self.retries = []

    def log_batch(self, run_id, metrics=(), tags=()):
        self.retries.append(os.environ.get(RETRIES))
        if self.num_away > 0:
            self.num_away -= 1
            raise self.error
        self.steps += [metric.step for metric in metrics]

    def set_terminated(self, run_id, status):
        self.ended = status


@pytest.fixture
def eager(monkeypatch):
    """Metrics are sent whenever they are logged, also after a try that failed."""
    monkeypatch.setattr(run_module, "FLUSH_SECONDS", -1.0)
    monkeypatch.setattr(run_module, "AWAY_SECONDS", -2.0)


def test_what_is_measured_while_a_server_is_away_is_sent_once_when_it_is_back(eager, capsys):
    client = Flaky(num_away=3)
    with TrackedRun(client, NOWHERE, "a run") as run:
        for step in range(10):
            run.log_metrics({"loss": 1.0}, step)
    assert client.steps == list(range(10))
    assert client.ended == "FINISHED"
    assert capsys.readouterr().err.count("kept and sent later") == 1


def test_a_training_does_not_wait_for_a_server_but_the_end_of_its_run_does(eager, monkeypatch):
    monkeypatch.setenv(RETRIES, "10")
    client = Flaky(num_away=2)
    with TrackedRun(client, NOWHERE, "a run") as run:
        run.log_metrics({"loss": 1.0}, 0)
        run.log_metrics({"loss": 1.0}, 1)
    assert client.retries == ["1", "1", "10"]
    assert os.environ[RETRIES] == "10"


def test_a_run_that_gave_up_on_its_server_does_not_wait_for_it_again(monkeypatch):
    monkeypatch.setenv(RETRIES, "10")
    client = Flaky(num_away=99)
    with pytest.raises(MlflowException), TrackedRun(client, NOWHERE, "a run") as run:
        run.log_metrics({"loss": 1.0}, 0)
    assert client.retries == ["10", "1"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit()])
def test_a_run_that_is_stopped_waits_for_no_server(monkeypatch, error):
    monkeypatch.setenv(RETRIES, "10")
    client = Flaky(num_away=99)
    run = TrackedRun(client, NOWHERE, "a run")
    run.log_metrics({"loss": 1.0}, 0)
    with pytest.raises(type(error)), run:
        raise error
    assert client.retries == ["1", "1"]


def test_metrics_that_a_server_refuses_are_an_error_at_once(eager):
    client = Flaky(num_away=1, error=MlflowException("no such run"))
    run = TrackedRun(client, NOWHERE, "a run")
    with pytest.raises(MlflowException, match="no such run"):
        run.log_metrics({"loss": 1.0})


def test_a_server_that_is_not_there_at_the_start_is_told_at_once_with_what_to_do(workdir):
    with pytest.raises(ConfigError, match=r"does not answer\. Start it: distill-lab server"):
        Store(NOWHERE, "e", None)


@contextmanager
def answering(code):
    """Serve nothing but one status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(code)

        def log_message(self, *words):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("code", "told"), [(503, "does not answer"), (401, "Set MLFLOW_TRACKING_USERNAME")]
)
def test_a_server_that_cannot_answer_or_does_not_admit_the_user_is_told_apart(workdir, code, told):
    with answering(code) as address, pytest.raises(ConfigError, match=told):
        Store(address, "e", None)


def test_an_artifact_that_cannot_be_asked_for_is_not_said_to_be_missing(store, monkeypatch):
    with store.start("one", {}) as run:
        run.log_text("kept", "a.txt")

    def unanswered(*given):
        raise away()

    monkeypatch.setattr(store.client, "get_run", unanswered)
    for ask in (store.fetch, store.look_for):
        with pytest.raises(MlflowException):
            ask(run.id, "a.txt")
    with pytest.raises(MlflowException):
        store.find(run.id)


def test_a_download_that_broke_off_is_done_again_and_one_that_nobody_answers_is_not():
    tries = []

    def download(error):
        tries.append(error)
        if len(tries) == 1:
            raise error
        return "a file"

    assert twice(download, error=OSError("broke off")) == "a file"
    tries.clear()
    with pytest.raises(MlflowException):
        twice(download, error=away())
    assert len(tries) == 1


def test_patience_is_the_users_where_he_says_how_much(monkeypatch):
    monkeypatch.setenv(RETRIES, "3")
    be_patient()
    assert os.environ[RETRIES] == "3"


def test_hurry_ends_with_what_is_in_a_hurry(monkeypatch):
    monkeypatch.delenv(RETRIES, raising=False)
    with at_once():
        assert os.environ[RETRIES] == "1"
    assert RETRIES not in os.environ


def test_an_error_of_the_store_itself_is_no_sign_that_it_is_away():
    assert is_away(away())
    assert not is_away(MlflowException("RESOURCE_DOES_NOT_EXIST"))
    assert not is_away(OSError("disk full"))


def test_who_is_not_admitted_is_told_how_to_log_in():
    with pytest.raises(RunError, match="MLFLOW_TRACKING_USERNAME"), refusals_told():
        raise MlflowException("failed with error code 401 != 200. Response body: ''")
