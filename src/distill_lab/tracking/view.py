"""Where to look in the MLflow UI: links that open the runs with useful columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import urlsplit

from mlflow import MlflowClient

ADDRESS = "http://127.0.0.1:5000"
MODE = "workflowType=machine_learning"  # else MLflow opens its pages for language models
METRICS = (
    "val/accuracy",
    "test/accuracy",
    "val/ndcg10",  # of items
    "test/ndcg10",
    "test/gain_over_control",
    "test/agreement",
    "test/ece",
    "cost/parameters",
    "cost/macs",
)


def server(uri: str) -> str:
    """Return where the UI of a store is: at the server itself, or at a local one for a database.

    >>> server("sqlite:///mlflow.db"), server("https://me:secret@host:5000/")
    ('http://127.0.0.1:5000', 'https://host:5000')
    """
    where = urlsplit(uri)
    if where.scheme not in ("http", "https"):
        return ADDRESS
    return f"{where.scheme}://{where.netloc.rpartition('@')[2]}{where.path.rstrip('/')}"


def link(uri: str, experiment_id: str, key: str) -> str:
    """Return the address of a stored view."""
    return f"{server(uri)}/#/experiments/{experiment_id}/runs?{MODE}&viewStateShareKey={key}"


def run_address(uri: str, experiment_id: str, run_id: str) -> str:
    """Return the address of a run's page."""
    return f"{server(uri)}/#/experiments/{experiment_id}/runs/{run_id}"


def store_view(
    client: MlflowClient,
    experiment_id: str,
    key: str,
    filter_text: str,
    params: Sequence[str],
    best_by: str,
) -> str:
    """Keep a view of the experiment's runs and return its address.

    MLflow reads a view that is shared by link from a tag of the experiment; it is stored once.

    Args:
        client: of the store.
        experiment_id: whose runs.
        key: name of the view.
        filter_text: which runs, in MLflow's search syntax.
        params: shown as columns before the metrics.
        best_by: metric by which the best run comes first.
    """
    columns = [f"params.`{name}`" for name in params] + [f"metrics.`{name}`" for name in METRICS]
    state = {
        "searchFilter": filter_text,
        "orderByKey": f"metrics.`{best_by}`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": {name: _width(name) for name in columns},
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsVisibilityMap": {},
        "runsHiddenMode": "FIRST_10_RUNS",
        "groupBy": None,
        "groupsExpanded": {},
    }
    tag, text = f"mlflow.sharedViewState.{key}", json.dumps(state)
    if client.get_experiment(experiment_id).tags.get(tag) != text:
        client.set_experiment_tag(experiment_id, tag, text)
    return link(client.tracking_uri, experiment_id, key)


def _width(column: str) -> int:
    """Return a width in pixels at which the column's name can be read."""
    return max(90, 8 * len(column.split("`")[1]) + 40)
