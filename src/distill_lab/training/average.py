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
        self._floats: tuple[list[Tensor], list[Tensor]] | None = None
        self._others: list[tuple[Tensor, Tensor]] = []

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Move the average towards the weights of `net`, the same network in every update."""
        if self._floats is None:
            self._floats = self._pair(net)  # once: listing them takes longer than moving them
        get_ema_multi_avg_fn(self.decay if self._started else 0.0)(*self._floats, 0)
        self._started = True
        for own, current in self._others:
            own.copy_(current)

    def get_extra_state(self) -> bool:
        """Return whether there was an update."""
        return self._started

    def set_extra_state(self, state: bool) -> None:
        """Take what a checkpoint says of it."""
        self._started = state

    def _pair(self, net: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
        pairs = list(zip(_tensors(self.net), _tensors(net), strict=True))
        self._others = [pair for pair in pairs if not pair[0].is_floating_point()]
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        return [own for own, _ in floats], [current for _, current in floats]


def _tensors(net: nn.Module) -> list[Tensor]:
    return [*net.parameters(), *net.buffers()]
