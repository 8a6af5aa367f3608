"""The moving average of a network's weights."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MovingAverage(nn.Module):
    """Exponential moving average of parameters and buffers; the first update copies them.

    The numbers are those of torch's `AveragedModel`, which reads a counter on the device and so
    makes a GPU wait in every step. Integer buffers are copied.

    Args:
        net: what is averaged; a copy of it holds the average.
        decay: in (0, 1), weight of the average so far.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        super().__init__()
        self.net = deepcopy(net).requires_grad_(False)
        self.decay = decay
        self._started = False

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Move the average towards the weights of `net`."""
        pairs = list(zip(_tensors(self.net), _tensors(net), strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        move = get_ema_multi_avg_fn(self.decay if self._started else 0.0)
        move([own for own, _ in floats], [current for _, current in floats], 0)
        for own, current in pairs:
            if not own.is_floating_point():
                own.copy_(current)
        self._started = True


def _tensors(net: nn.Module) -> list[Tensor]:
    return [*net.parameters(), *net.buffers()]
