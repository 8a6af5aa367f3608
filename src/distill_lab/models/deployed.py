"""A network as it is handed out: un-normalised inputs in, logits out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill_lab.contracts import DataInfo


class Deployed(nn.Module):
    """The network behind the normalisation it was trained with; token ids go in as they are.

    Args:
        net: expects normalised inputs.
        info: of the dataset; its mean and std are per channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, info: DataInfo) -> None:
        super().__init__()
        self.net = net
        self.reads_ids = info.vocabulary_size is not None
        ones = (1,) * (len(info.input_shape) - 1)
        self.register_buffer("mean", torch.tensor(info.mean).view(-1, *ones))
        self.register_buffer("std", torch.tensor(info.std).view(-1, *ones))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) for raw inputs (B, C, ...)."""
        logits: Tensor = self.net(inputs if self.reads_ids else (inputs - self.mean) / self.std)
        return logits
