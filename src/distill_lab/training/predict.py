"""Logits of a network over a whole split."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill_lab.contracts import Arrays, DataInfo
from distill_lab.data.normalise import normalise

BATCH_SIZE = 512  # rows per forward pass; bounds memory, does not change the result


def predict_logits(net: nn.Module, arrays: Arrays, info: DataInfo) -> Tensor:
    """Run the network in eval mode, without gradient, over normalised inputs.

    Returns:
        (N, K) float32, in the order of the split.
    """
    net.eval()
    with torch.inference_mode():
        parts = [net(normalise(chunk, info)).float() for chunk in arrays.inputs.split(BATCH_SIZE)]
    return torch.cat(parts).clone()
