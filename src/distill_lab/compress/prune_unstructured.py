"""Single weights of smallest magnitude set to zero."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from distill_lab.compress.layers import WEIGHTED, require_reach, weighted_layers
from distill_lab.compress.pruning import Pruning


class PruneUnstructured(Pruning):
    """The smallest weights of all its layers together become zero, and stay so in later trainings.

    Shapes stay, so do the time of a forward pass and its MACs; zeros need no room in the file. In
    several rounds the share that is left shrinks by the same factor in each.
    Source: Han et al. 2015, arXiv:1506.02626, with one threshold for all layers.

    Args:
        fraction: of the weights of convolutions and linear layers, in (0, 1).
        rounds: >= 1.
        epochs: of training after each round; 0 for none.

    Raises:
        ValueError: a number is out of range.
    """

    def check(self, net: nn.Module, example: Tensor) -> None:
        """Refuse a network most of whose weights are in other layers, or that would lose all."""
        require_reach(net, WEIGHTED)
        num_weights = sum(layer.weight.numel() for _, layer in weighted_layers(net))
        if round((1 - self.fraction) * num_weights) < 1:
            raise ValueError(
                f"the layers of {type(net).__name__} have {num_weights:,} weights and would lose "
                f"all of them. Take a fraction of at most 1 - 1/{num_weights}."
            )

    def begin(self, net: nn.Module, examples: Tensor, number: int) -> nn.Module:
        """Return a copy whose smallest weights are zero."""
        self.check(net, examples)
        copy = deepcopy(net)
        weights = [layer.weight for _, layer in weighted_layers(copy)]
        left = self.left_after(number)
        with torch.no_grad():
            for weight, mask in zip(weights, largest(weights, left), strict=True):
                weight.mul_(mask)
        return copy


@torch.no_grad()
def largest(weights: list[Tensor], fraction: float) -> list[Tensor]:
    """Return a mask per tensor: True for that share of all values whose magnitude is largest.

    >>> largest([torch.tensor([1.0, -4.0]), torch.tensor([3.0, 0.5])], 0.5)
    [tensor([False,  True]), tensor([ True, False])]
    """
    magnitudes = torch.cat([weight.abs().flatten() for weight in weights])
    mask = torch.zeros_like(magnitudes, dtype=torch.bool)
    mask[magnitudes.topk(round(fraction * len(magnitudes)), sorted=False).indices] = True
    parts = mask.split([weight.numel() for weight in weights])
    return [part.view(weight.shape) for part, weight in zip(parts, weights, strict=True)]
