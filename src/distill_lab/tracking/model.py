"""A network as an MLflow model: signature, input example, registry entry."""

from __future__ import annotations

import mlflow
import mlflow.pytorch
import torch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import Model, infer_signature
from torch import Tensor, nn


def log_model(
    uri: str, run_id: str, net: nn.Module, example: Tensor, registered_name: str | None
) -> str:
    """Log a network in the pt2 format: a traced graph, no pickle, no need of this package.

    The run's status is left alone, which `mlflow.start_run` would not do.

    Args:
        uri: tracking URI.
        run_id: the run it belongs to.
        net: maps (B, ...) float32 to (B, K); switched to eval mode.
        example: (B, ...) inputs with B >= 2, so that the batch axis stays free.
        registered_name: in the model registry; None: logged, not registered.

    Returns:
        URI to serve it by, e.g. `models:/distill-lab-digits/3`.
    """
    net = net.eval().cpu()
    with torch.inference_mode():
        logits = net(example).numpy()
    inputs = example.numpy()
    mlflow.set_tracking_uri(uri)
    logged = Model.log(
        None,  # the old way of naming it
        name="model",
        flavor=mlflow.pytorch,
        run_id=run_id,
        pytorch_model=net,
        signature=infer_signature(inputs, logits),
        input_example=inputs,
        serialization_format="pt2",
        pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}"],
    )
    if registered_name is None:
        return str(logged.model_uri)
    return _register(MlflowClient(uri), registered_name, str(logged.model_uri), run_id)


def _register(client: MlflowClient, name: str, source: str, run_id: str) -> str:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # perhaps by a job beside this one
            raise
    model_id = source.rpartition("/")[2]
    version = client.create_model_version(name, source, run_id=run_id, model_id=model_id)
    return f"models:/{name}/{version.version}"
