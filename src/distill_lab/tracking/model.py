"""A network as an MLflow model, with signature and input example."""

from __future__ import annotations

import warnings

import mlflow
import mlflow.pytorch
import torch
from mlflow.models import Model, infer_signature
from torch import Tensor, nn

from distill_lab.tracking.uncut import Client, uncut


def log_model(uri: str, run_id: str, net: nn.Module, example: Tensor) -> str:
    """Log a network in the pt2 format: a traced graph, no pickle, no need of this package.

    The run's status is left alone, which `mlflow.start_run` would not do.

    Args:
        uri: tracking URI.
        run_id: the run it belongs to.
        net: maps (B, ...) float32 to (B, K); switched to eval mode.
        example: (B, ...) inputs with B >= 2, so that the batch axis stays free.

    Returns:
        URI to serve it by, e.g. `models:/m-1f3a`.
    """
    net = net.eval().cpu()
    with torch.inference_mode():
        logits = net(example).numpy()
    inputs = example.numpy()
    mlflow.set_tracking_uri(uri)
    client = Client(uri)
    experiment_id = client.get_run(run_id).info.experiment_id
    made = client.create_logged_model(experiment_id, "model", source_run_id=run_id)
    with uncut(uri), warnings.catch_warnings():
        # Recurrent layers keep a list of their weights beside the weights; the graph has these.
        warnings.filterwarnings("ignore", r"The tensor attributes .*_flat_weights", UserWarning)
        logged = Model.log(
            None,  # the old way of naming it
            model_id=made.model_id,
            flavor=mlflow.pytorch,
            run_id=run_id,
            pytorch_model=net,
            signature=infer_signature(inputs, logits),
            input_example=inputs,
            serialization_format="pt2",
            pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}"],
        )
    return str(logged.model_uri)
