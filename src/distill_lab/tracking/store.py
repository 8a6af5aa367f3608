"""The MLflow tracking store: starting runs, finding finished ones, reading their artifacts back."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any
from urllib.parse import ParseResult, unquote, urlparse
from weakref import finalize

import mlflow
from alembic.util import CommandError
from filelock import FileLock
from mlflow.entities import Run as RunRecord
from mlflow.utils.logging_utils import disable_logging
from safetensors.torch import load_file
from sqlalchemy.exc import SQLAlchemyError
from torch import nn

from distill_lab.contracts import Quality
from distill_lab.errors import ConfigError, RunError, nearest, without_secret
from distill_lab.tracking import sqlite
from distill_lab.tracking.failures import advice_on_access
from distill_lab.tracking.orphans import TAG, close_orphan, close_orphans, this_process
from distill_lab.tracking.patience import be_patient, is_away, raise_if_away, twice, waiting_unless
from distill_lab.tracking.registry import Registered, register
from distill_lab.tracking.run import MAX_NAME, SHA256, TrackedRun, safe
from distill_lab.tracking.turn import Turn
from distill_lab.tracking.uncut import Client, uncut
from distill_lab.tracking.view import run_address, store_view

START = "distill-lab server, or name another in tracking.uri"
SEARCHED = 50_000  # newest runs whose ids may be given by their beginning; MLflow's limit


@dataclass(frozen=True)
class RunSummary:
    """A run as it stands in the store."""

    id: str
    name: str
    status: str
    tags: dict[str, str]
    metrics: dict[str, float]


class Store:
    """One experiment of one MLflow store.

    Args:
        uri: tracking URI; a relative SQLite path is below the working directory.
        experiment: name; made if missing.
        artifact_location: where a new experiment keeps artifacts; a plain path is below the working
            directory; None leaves it to the tracking server.
        was_there: a server was there a moment ago, so that it is waited for if it is away now.

    Raises:
        ConfigError: there is no such store, or it cannot have such an experiment.
        RunError: the experiment was deleted.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        artifact_location: str | None,
        was_there: bool = False,
    ) -> None:
        _quiet()
        be_patient()
        self.uri = sqlite.absolute(uri)
        self._scratch: Path | None = None  # copies of remote artifacts
        self._artifacts: dict[str, ParseResult] = {}
        database = sqlite.file_of(self.uri)
        self._in_file = database is not None
        self._folder = Path.cwd() if database is None else database.parent
        try:
            if database is not None:
                sqlite.make(database)
            self.client = Client(self.uri)
            with waiting_unless(not was_there):
                self.experiment_id = self._experiment(experiment, artifact_location)
                self.close_orphans()
        except (mlflow.MlflowException, SQLAlchemyError, CommandError, OSError) as error:
            hidden = without_secret(repr(uri))
            reason = without_secret(" ".join(str(error).split()))
            cannot = f"tracking: cannot keep experiment {experiment!r} at {hidden}"
            if is_away(error):
                raise ConfigError(
                    [f"{cannot}: the server does not answer. Start it: {START}. ({reason})"]
                ) from error
            raise ConfigError([f"{cannot}: {reason}{advice_on_access(reason)}"]) from error

    def start(self, name: str, tags: dict[str, str], parent_id: str | None = None) -> TrackedRun:
        """Start a run, below `parent_id` if given; use it as a context manager.

        Runs with the same `fingerprint` and `upstream` among their tags do the same.
        """
        tags = safe(tags)
        tags[TAG] = this_process()
        if parent_id is not None:
            tags["mlflow.parentRunId"] = parent_id

        def begin() -> TrackedRun:
            made = self.client.create_run(self.experiment_id, tags=tags, run_name=name[:MAX_NAME])
            return TrackedRun(self.client, self.uri, made.info.run_id, self._unfinished(tags))

        return self._begun(begin)

    def open(self, run_id: str) -> TrackedRun:
        """Return an existing run, to log to it."""
        return TrackedRun(self.client, self.uri, run_id)

    def reopen(self, run_id: str, process: str | None = None) -> TrackedRun:
        """Let an ended run be RUNNING again; its process is this one, or the one that is named."""

        def begin() -> TrackedRun:
            run = self.open(run_id)
            run.set_tags({TAG: process or this_process()})
            if "error" in self.get(run_id).tags:
                self.client.delete_tag(run_id, "error")
            self.client.update_run(run_id, status="RUNNING")
            return run

        return self._begun(begin) if process is None else begin()

    def _begun(self, begin: Callable[[], TrackedRun]) -> TrackedRun:
        """Return a run that is begun; after a signal, which nobody could close, it is killed."""
        with ExitStack() as killed:
            with uncut(self.uri):
                run = killed.enter_context(begin())
            killed.pop_all()
        return run

    @property
    def home(self) -> Path:
        """Where the SQLite file lies; of another store the working directory."""
        return self._folder

    def close_orphans(self) -> None:
        """Mark runs of ended processes FAILED; see `tracking.orphans.close_orphans`."""
        close_orphans(self.client, self.experiment_id)

    def close_below(self, run_id: str) -> None:
        """Mark what is still RUNNING below a run FAILED, once no process is at it, on any host."""
        for child in self.children(run_id):
            self.close_below(child.id)
            if child.status == "RUNNING":
                close_orphan(self.client, child.id)

    def turn(self, name: str, run_id: str) -> FileLock | Turn:
        """Return a lock that all processes on this store share, by a file beside it or by itself.

        Args:
            name: of what only one of them may be at.
            run_id: run for which it is asked.
        """
        if self._in_file:
            return self.lock(name)
        return Turn(self.client, self.experiment_id, name, run_id)

    def lock(self, name: str) -> FileLock:
        """Return a lock that all processes share which have the same `home`."""
        folder = self._folder / ".distill_lab" / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{name}.lock")

    def _unfinished(self, tags: dict[str, str]) -> Path | None:
        if "fingerprint" not in tags:
            return None
        same = hashlib.sha256(f"{tags['fingerprint']} {tags.get('upstream')}".encode()).hexdigest()
        return self._folder / ".distill_lab" / "unfinished" / same

    def find_finished(self, tags: dict[str, str]) -> RunSummary | None:
        """Return the newest FINISHED original (not itself reused) run that carries all tags."""
        asked = " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in tags.items())
        token: str | None = None
        while True:
            found = self.client.search_runs(
                [self.experiment_id],
                f"{asked} and attributes.status = 'FINISHED'",
                max_results=100,
                page_token=token,
            )
            for record in found:
                if "reused_from" not in record.data.tags:
                    return _summary(record)
            if not found.token:
                return None
            token = found.token

    def children(self, parent_id: str) -> list[RunSummary]:
        """Return the runs directly below a run, oldest first."""
        found = self.client.search_runs(
            [self.experiment_id],
            f"tags.`mlflow.parentRunId` = '{parent_id}'",
            max_results=5000,
            order_by=["attributes.start_time ASC"],
        )
        return [_summary(record) for record in found]

    def read_json(self, run_id: str, path: str) -> dict[str, Any]:
        """Read a JSON artifact.

        Raises:
            RunError: it is missing, altered or not JSON.
        """
        local = self.fetch(run_id, path)
        recorded = self.get(run_id).tags.get(f"{SHA256}.{path}")
        if recorded is not None:
            _check(local, run_id, path, recorded)
        try:
            values: dict[str, Any] = json.loads(local.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RunError(
                f"artifact {path!r} of run {run_id} is not valid JSON: {error}."
            ) from error
        return values

    def read_text(self, run_id: str, path: str) -> str:
        """Read a text artifact; errors as of `fetch`."""
        return self.fetch(run_id, path).read_text(encoding="utf-8")

    def look_for(self, run_id: str, path: str) -> Path | None:
        """Return `fetch`, or None where the artifact is missing."""
        try:
            return self.fetch(run_id, path)
        except RunError:
            return None

    def fetch(self, run_id: str, path: str) -> Path:
        """Return a local copy of an artifact (the file itself where the store is local).

        Raises:
            RunError: it is missing.
        """
        try:
            folder = self._artifacts_of(run_id)
        except mlflow.MlflowException as error:
            raise_if_away(error)
            raise RunError(f"artifact {path!r} of run {run_id} is missing: {error}.") from error
        if folder.scheme in ("", "file"):
            local = Path(unquote(folder.path)) / path
        else:
            local = Path(self._download(run_id, path))
        if not local.is_file():
            raise RunError(f"artifact {path!r} of run {run_id} is missing: there is no {local}.")
        return local

    def verify(self, run_id: str, path: str, sha256: str) -> Path:
        """Fetch an artifact and check its SHA-256.

        Raises:
            RunError: it is missing or altered.
        """
        local = self.fetch(run_id, path)
        _check(local, run_id, path, sha256)
        return local

    def load_weights(self, net: nn.Module, run_id: str, path: str, sha256: str) -> nn.Module:
        """Load verified safetensors weights into a network and return it in eval mode.

        Raises:
            RunError: they are missing, altered, or of another network.
        """
        weights = load_file(self.verify(run_id, path, sha256))
        try:
            net.load_state_dict(weights)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise RunError(f"weights {path!r} of run {run_id} do not fit: {reason}") from error
        return net.eval()

    def get(self, run_id: str) -> RunSummary:
        """Return a run as it stands."""
        return _summary(self.client.get_run(run_id))

    def resolve(self, text: str) -> RunSummary:
        """Return the run whose id is, or begins with, a text.

        Raises:
            RunError: there is none, or there are several.
        """
        known = self.find(text)
        if known is not None:
            return known
        found = self.client.search_runs([self.experiment_id], max_results=SEARCHED)
        ids = [record.info.run_id for record in found]
        begun = [run_id for run_id in ids if text and run_id.startswith(text)]
        if len(begun) != 1:
            many = f"{len(begun)} runs begin with it" if begun else f"no run.{nearest(text, ids)}"
            raise RunError(f"run {text!r}: {many}; `distill-lab ui` shows them with their ids.")
        return self.get(begun[0])

    def history(self, run_id: str, key: str) -> list[float]:
        """Return the values of a metric in the order of their steps; none if it was not logged."""
        logged = self.client.get_metric_history(run_id, key)
        return [metric.value for metric in sorted(logged, key=lambda metric: metric.step)]

    def find(self, run_id: str) -> RunSummary | None:
        """Return a run that may not be there."""
        try:
            return self.get(run_id)
        except mlflow.MlflowException as error:
            raise_if_away(error)
            return None

    def check_model(self, model: str) -> None:
        """Check that a logged model is still there.

        Raises:
            RunError: it is not.
        """
        try:
            self.client.get_logged_model(model.rpartition("/")[2])
        except mlflow.MlflowException as error:
            raise_if_away(error)
            raise RunError(f"model {model} is missing: {error}") from error

    def register(
        self,
        model: str,
        name: str,
        quality: Quality,
        tags: dict[str, str],
        description: str,
        run_id: str,
    ) -> Registered:
        """Make a logged model a version in the registry; see `tracking.registry.register`.

        Processes take turns, on behalf of the run of this id.
        """
        hidden = {key: without_secret(value) for key, value in tags.items()}
        mlflow.set_tracking_uri(self.uri)  # a store of versions looks for models by itself
        with self.turn(f"registry-{hashlib.sha256(name.encode()).hexdigest()}", run_id):
            return register(self.client, model, name, quality, hidden, without_secret(description))

    def fetch_model(self, model: str, path: str) -> bytes:
        """Return the content of a file of a logged model.

        Raises:
            RunError: it is missing.
        """
        try:
            where = self.client.get_logged_model(model.rpartition("/")[2]).artifact_location
            with TemporaryDirectory() as folder:
                local = twice(
                    partial(mlflow.artifacts.download_artifacts, tracking_uri=self.uri),
                    artifact_uri=f"{where}/{path}",
                    dst_path=folder,
                )
                return Path(local).read_bytes()
        except (OSError, mlflow.MlflowException) as error:
            raise_if_away(error)
            raise RunError(f"file {path!r} of model {model} is missing: {error}") from error

    def folder(self, run_id: str, path: str) -> str:
        """Return where an artifact, or a folder of them, lies: here, or as a `runs:/` address."""
        where = self._artifacts_of(run_id)
        if where.scheme in ("", "file"):
            return str(Path(unquote(where.path)) / path)
        return f"runs:/{run_id}/{path}"

    def _artifacts_of(self, run_id: str) -> ParseResult:
        """Return where a run keeps its artifacts, which never changes; a store is asked once."""
        if run_id not in self._artifacts:
            self._artifacts[run_id] = urlparse(str(self.client.get_run(run_id).info.artifact_uri))
        return self._artifacts[run_id]

    def view(
        self, key: str, filter_text: str, params: Sequence[str] = (), best_by: str = "val/accuracy"
    ) -> str:
        """Keep a view of the runs and return its address; see `tracking.view.store_view`."""
        return store_view(self.client, self.experiment_id, key, filter_text, params, best_by)

    def run_address(self, run_id: str) -> str:
        """Return the address of a run in the MLflow UI."""
        return run_address(self.uri, self.experiment_id, run_id)

    def _download(self, run_id: str, path: str) -> str:
        if self._scratch is None:
            self._scratch = Path(mkdtemp(prefix="distill-lab-"))
            finalize(self, shutil.rmtree, self._scratch, ignore_errors=True)
        folder = self._scratch / run_id
        folder.mkdir(exist_ok=True)
        try:
            return twice(
                self.client.download_artifacts, run_id=run_id, path=path, dst_path=str(folder)
            )
        except (OSError, mlflow.MlflowException) as error:
            raise_if_away(error)
            raise RunError(f"artifact {path!r} of run {run_id} is missing: {error}") from error

    def _experiment(self, name: str, artifact_location: str | None) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is None:
            location = _absolute(artifact_location)
            try:
                return str(self.client.create_experiment(name, artifact_location=location))
            except mlflow.MlflowException:
                found = self.client.get_experiment_by_name(name)  # another process was quicker
                if found is None:
                    raise
        if found.lifecycle_stage == "deleted":
            raise RunError(
                f"tracking.experiment: {name!r} was deleted in the MLflow UI. Restore it with "
                f"`mlflow experiments restore --experiment-id {found.experiment_id}`, or choose "
                "another name."
            )
        return str(found.experiment_id)


def _check(local: Path, run_id: str, path: str, sha256: str) -> None:
    given = hashlib.sha256(local.read_bytes()).hexdigest()
    if given != sha256:
        raise RunError(
            f"artifact {path!r} of run {run_id} was altered: its SHA-256 is {given[:12]}..., "
            f"{sha256[:12]}... was recorded."
        )


def _summary(record: RunRecord) -> RunSummary:
    info, data = record.info, record.data
    return RunSummary(info.run_id, info.run_name, info.status, data.tags, data.metrics)


def _absolute(location: str | None) -> str | None:
    if location is None or "://" in location:
        return location
    return Path(location).resolve().as_uri()


def _quiet() -> None:
    """Keep MLflow's own chatter (database set-up, environment hints) out of the terminal."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    logging.getLogger("mlflow.store.model_registry").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    disable_logging()
