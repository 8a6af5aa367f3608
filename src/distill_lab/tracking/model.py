"""A network as an MLflow model: signature, input example, registry entry."""

from __future__ import annotations

import mlflow
import torch
from mlflow.models import infer_signature
from torch import Tensor, nn


def log_model(
    uri: str, run_id: str, net: nn.Module, example: Tensor, registered_name: str | None
) -> str:
    """Log a network in the pt2 format: a traced graph, no pickle, no need of this package.

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
    with mlflow.start_run(run_id=run_id):
        logged = mlflow.pytorch.log_model(
            net,
            name="model",
            signature=infer_signature(inputs, logits),
            input_example=inputs,
            serialization_format="pt2",
            pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}"],
            registered_model_name=registered_name,
        )
    if registered_name is None:
        return str(logged.model_uri)
    return f"models:/{registered_name}/{logged.registered_model_version}"
