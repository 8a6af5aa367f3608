"""Logits of a network over a whole split."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill_lab.contracts import Arrays, DataInfo
from distill_lab.data.module import EVALUATION_BATCH_SIZE
from distill_lab.data.normalise import normalise


def predict_logits(net: nn.Module, arrays: Arrays, info: DataInfo) -> Tensor:
    """Run the network in eval mode, without gradient, over normalised inputs, where it is.

    Args:
        net: on any device; batches of inputs are moved there.
        arrays: on the CPU.
        info: of the dataset.

    Returns:
        (N, K) float32 on the CPU, in the order of the split.
    """
    net.eval()
    device = next((parameter.device for parameter in net.parameters()), torch.device("cpu"))
    with torch.inference_mode():
        parts = [
            net(normalise(chunk.to(device), info)).float()
            for chunk in arrays.inputs.split(EVALUATION_BATCH_SIZE)
        ]
        logits = torch.cat(parts).cpu()
    return logits.clone()
