"""One MLflow run: buffered metrics, artifacts, and an end that is always recorded."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from safetensors.torch import save_file
from sqlalchemy.exc import SQLAlchemyError

from distill_lab.errors import Pruned, Refused, without_secret
from distill_lab.picture import png
from distill_lab.tracking.failures import REFUSED
from distill_lab.tracking.patience import at_once, is_away, waiting_unless
from distill_lab.tracking.uncut import uncut

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor, nn

FLUSH_SECONDS = 5.0  # at most this much of a curve is not yet visible in the UI
AWAY_SECONDS = 30.0  # between two tries to send metrics to a server that does not answer
STOPPED = (KeyboardInterrupt, SystemExit, Refused, *REFUSED)
"""With what in hand a run ends without waiting for a server: nobody waits, or it was waited for."""
MAX_BATCH = 1000  # metrics per request, MLflow's limit
MAX_PARAMS = 100  # per request, MLflow's limit
MAX_VALUE = 6000  # characters of a param's value, MLflow's limit
MAX_TAG = 8000  # characters of a tag's value, MLflow's limit
MAX_NAME = 250  # characters of a run's name; a column of that width in PostgreSQL
AWAY = "  tracking     the server does not answer; what is measured is kept and sent later"
SHA256 = "sha256"
"""What the name of a tag begins with that holds the checksum of a JSON artifact."""


class TrackedRun:
    """A run that is being written.

    As a context manager it ends FINISHED, FAILED with the error as tag `error`, or KILLED: on
    Ctrl-C or SIGTERM, or where its training was pruned, which the tag `pruned` then tells.

    Attributes:
        unfinished: folder for what a run leaves, if it is stopped, to the next one that does the
            same; deleted when it ends FINISHED. None where no other run can do the same.
    """

    def __init__(
        self, client: MlflowClient, uri: str, run_id: str, unfinished: Path | None = None
    ) -> None:
        self.client = client
        self.uri = uri
        self.id = run_id
        self.unfinished = unfinished
        self._buffer: list[Metric] = []
        self._flushed = time.monotonic()
        self._pause = FLUSH_SECONDS

    def __enter__(self) -> TrackedRun:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with uncut(self.uri):
            try:
                self._close(error)
            except (KeyboardInterrupt, SystemExit) as stop:  # while a server was asked
                self._end(stop, at_once())
                raise

    def _close(self, error: BaseException | None) -> None:
        try:
            with waiting_unless(isinstance(error, STOPPED)):
                self.flush()
        except Exception as lost:  # of a store or a driver; raised, unless it came second
            self._end(error or lost, at_once())
            if error is None:
                raise
        else:
            self._end(error, waiting_unless(isinstance(error, STOPPED)))

    def _end(self, error: BaseException | None, waiting: AbstractContextManager[None]) -> None:
        if error is None:
            self.client.set_terminated(self.id, "FINISHED")
            if self.unfinished is not None:
                shutil.rmtree(self.unfinished, ignore_errors=True)
            return
        why = {"error": f"{type(error).__name__}: {error}"}
        if isinstance(error, Pruned):
            why = {"pruned": f"after {error.after}"}
        killed = isinstance(error, KeyboardInterrupt | SystemExit | Pruned)
        # Where even that cannot be written, the next start does it: see `tracking.orphans`.
        with suppress(*REFUSED), waiting:
            self.set_tags(why)
            self.client.set_terminated(self.id, "KILLED" if killed else "FAILED")

    def set_tags(self, tags: dict[str, str]) -> None:
        """Set tags; long values are cut to MLflow's limit."""
        self.client.log_batch(self.id, tags=[RunTag(k, v) for k, v in safe(tags).items()])

    def log_params(self, values: dict[str, Any]) -> None:
        """Log nested plain values under dotted keys."""
        flat = [Param(key, str(value)[:MAX_VALUE]) for key, value in dotted(values).items()]
        for start in range(0, len(flat), MAX_PARAMS):
            self.client.log_batch(self.id, params=flat[start : start + MAX_PARAMS])

    def log_metrics(self, values: dict[str, float], step: int = 0) -> None:
        """Buffer metrics; they are written every few seconds and at the end.

        While a server is away they stay in the buffer, and what logs them goes on.
        """
        now = int(time.time() * 1000)
        self._buffer += [Metric(key, float(value), now, step) for key, value in values.items()]
        if time.monotonic() - self._flushed > self._pause:
            self._try_to_flush()

    def _try_to_flush(self) -> None:
        try:
            with at_once():
                self.flush()
        except MlflowException as error:
            if not is_away(error):
                raise
            if self._pause == FLUSH_SECONDS:
                print(AWAY, file=sys.stderr)
            self._pause, self._flushed = AWAY_SECONDS, time.monotonic()
        else:
            self._pause = FLUSH_SECONDS

    def flush(self) -> None:
        """Write what is buffered."""
        while self._buffer:
            self.client.log_batch(self.id, metrics=self._buffer[:MAX_BATCH])
            del self._buffer[:MAX_BATCH]
        self._flushed = time.monotonic()

    def log_json(self, values: Any, path: str) -> None:
        """Write plain values as a JSON artifact; its SHA-256 is a tag of the run."""
        text = json.dumps(values, indent=1)
        self.log_text(text, path)
        self.set_tags({f"{SHA256}.{path}": hashlib.sha256(text.encode()).hexdigest()})

    def log_text(self, text: str, path: str) -> None:
        """Write a text artifact."""
        with self._file(path) as local:
            local.write_text(text, encoding="utf-8")

    def log_figure(self, figure: Figure, path: str) -> None:
        """Write a figure as a picture."""
        with self._file(path) as local:
            local.write_bytes(png(figure))

    def log_weights(self, net: nn.Module, path: str) -> str:
        """Write a network's weights as safetensors and return their SHA-256."""
        state = {name: tensor.contiguous() for name, tensor in net.state_dict().items()}
        with self._file(path) as local:
            save_file(state, local)
            return hashlib.sha256(local.read_bytes()).hexdigest()

    def log_bytes(self, content: bytes, path: str) -> str:
        """Write a file of these bytes and return their SHA-256."""
        with self._file(path) as local:
            local.write_bytes(content)
        return hashlib.sha256(content).hexdigest()

    def log_model(self, net: nn.Module, example: Tensor) -> str:
        """Log a network as an MLflow model; see `tracking.model.log_model`."""
        from distill_lab.tracking.model import log_model  # MLflow's model flavours take seconds

        return log_model(self.uri, self.id, net, example)

    def log_dataset(self, name: str, digest: str, source: str, context: str) -> None:
        """Record a dataset as the run's input."""
        dataset = Dataset(name, digest[:8], "local", source)  # as long as MLflow's own digests
        inputs = [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])]
        try:
            self.client.log_inputs(self.id, inputs)
        except (MlflowException, SQLAlchemyError):
            # Another job recorded the same dataset at the same moment; now it is there.
            self.client.log_inputs(self.id, inputs)

    @contextmanager
    def _file(self, path: str) -> Iterator[Path]:
        folder, name = os.path.split(path)
        with tempfile.TemporaryDirectory() as scratch:
            local = Path(scratch) / name
            yield local
            self.client.log_artifact(self.id, str(local), folder or None)


def safe(tags: dict[str, str]) -> dict[str, str]:
    """Return tags without passwords, and no longer than they may be."""
    return {key: without_secret(str(value))[:MAX_TAG] for key, value in tags.items()}


def dotted(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested dicts to dotted keys; `_target_` is written as the key itself.

    >>> dotted({"a": {"b": 1, "_target_": "x.Y"}, "c": [1, 2]})
    {'a.b': 1, 'a': 'x.Y', 'c': [1, 2]}

    A grid stays one value, so that its key is the same as that of a fixed knob. An `@`, which
    MLflow refuses in a key, is written as a dot.
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = prefix if key == "_target_" else f"{prefix}.{key}".lstrip(".").replace("@", ".")
        if isinstance(value, dict) and list(value) == ["grid"]:
            flat[name] = f"grid {value['grid']}"
        elif isinstance(value, dict) and value:
            flat |= dotted(value, name)
        else:
            flat[name] = value
    return flat
