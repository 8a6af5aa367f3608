"""Training for int8: the network feels the rounding while it learns."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from distill_lab.compress.base import Step
from distill_lab.compress.fake_int8 import FakeInt8Input, FakeInt8Weight
from distill_lab.compress.layers import WEIGHTED, require_reach, weighted_layers

INPUT = "fake_int8_input"
"""Name under which a layer holds the range of what it is given."""


class QuantizeAware(Step):
    """Weights and inputs of convolutions and linear layers are rounded to int8 while it is trained.

    What is left are float weights that int8 holds without loss; `quantize_onnx` after it makes them
    int8 and measures the ranges of activations once more. Distilled with the same teacher this is
    scheme C of Apprentice.
    Source: Jacob et al. 2018, arXiv:1712.05877; Mishra and Marr 2018, arXiv:1711.05852, section 5.

    Args:
        epochs: of training, >= 1.

    Raises:
        ValueError: a number is out of range.
    """

    gives = "grid"

    def __init__(self, epochs: int) -> None:
        if epochs < 1:
            raise ValueError(f"epochs: must be >= 1, got {epochs!r}.")
        self.epochs = epochs

    def check(self, net: nn.Module, example: Tensor) -> None:
        """Refuse a network most of whose weights are in other layers."""
        require_reach(net, WEIGHTED)

    def begin(self, net: nn.Module, examples: Tensor, number: int) -> nn.Module:
        """Return a copy that rounds, until `finish`."""
        self.check(net, examples)
        copy = deepcopy(net)
        for _, layer in weighted_layers(copy):
            parametrize.register_parametrization(layer, "weight", FakeInt8Weight())
            layer.add_module(INPUT, FakeInt8Input())
            layer.register_forward_pre_hook(_round_input)
        return copy

    def finish(self, net: nn.Module) -> nn.Module:
        """Return the network without the rounding of what layers are given."""
        for _, layer in weighted_layers(net):
            delattr(layer, INPUT)
            hooks: dict[int, Any] = layer._forward_pre_hooks
            for key in [key for key, hook in hooks.items() if hook is _round_input]:
                del hooks[key]
        return net


def _round_input(layer: nn.Module, given: tuple[Any, ...]) -> Any:
    return (layer.get_submodule(INPUT)(given[0]), *given[1:])
