"""The model registry: logged models become versions of a registered one."""

from __future__ import annotations

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException


def register(client: MlflowClient, model: str, name: str) -> str:
    """Make a logged model a version in the registry, unless it is one already.

    Args:
        client: of the store.
        model: URI that `log_model` returned.
        name: of the registered model; made if missing.

    Returns:
        URI of the version, e.g. `models:/distill-lab-digits/3`.
    """
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # perhaps by a job beside this one
            raise
    versions = client.search_model_versions(f"name = '{name}'")
    found = next((version for version in versions if version.source == model), None)
    if found is None:
        logged = client.get_logged_model(model.rpartition("/")[2])
        found = client.create_model_version(
            name, model, run_id=logged.source_run_id, model_id=logged.model_id
        )
    return f"models:/{name}/{found.version}"
