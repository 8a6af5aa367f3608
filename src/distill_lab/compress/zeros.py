"""Weights that are zero stay zero while a network is trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from distill_lab.compress.layers import weighted_layers


class Masked(nn.Module):
    """A weight of which some values are held at zero.

    Args:
        mask: of the weight's shape, False where it is held.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight, zero where the mask is False."""
        return weight * self.mask


def hold_zeros(net: nn.Module) -> None:
    """Let the zeros of convolutions and linear layers stay, in place, until `settle`."""
    for _, layer in weighted_layers(net):
        mask = _own_weight(layer).detach() != 0
        if not mask.all():
            parametrize.register_parametrization(layer, "weight", Masked(mask))


@torch.no_grad()
def settle(net: nn.Module) -> None:
    """Make plain weights, in place, of those that are computed in every pass."""
    for _, layer in weighted_layers(net):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight")


def _own_weight(layer: nn.Module) -> Tensor:
    """Return what is trained, whatever is made of it in a pass."""
    if parametrize.is_parametrized(layer, "weight"):
        original: Tensor = layer.parametrizations["weight"].original  # type: ignore[index, union-attr]
        return original
    weight: Tensor = layer.weight  # type: ignore[assignment]
    return weight
