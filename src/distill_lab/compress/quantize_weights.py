"""Weights of linear layers as int8, activations as they are."""

from __future__ import annotations

from torch import Tensor, nn

from distill_lab.compress.base import Step
from distill_lab.compress.int8_linear import with_int8_linears
from distill_lab.compress.layers import require_reach


class QuantizeWeights(Step):
    """Each row of a linear layer's weight becomes int8 with a scale of its own.

    The weight is turned back into floats in every forward pass, so this saves bytes, not time.
    Source: torchao 0.18, `Int8WeightOnlyConfig`.
    """

    gives = "int8"
    makes_int8 = True

    def check(self, net: nn.Module, example: Tensor) -> None:
        """Refuse a network most of whose weights are not in linear layers."""
        require_reach(net, (nn.Linear,))

    def begin(self, net: nn.Module, examples: Tensor, number: int) -> nn.Module:
        """Return a copy with int8 weights."""
        self.check(net, examples)
        return with_int8_linears(net, "Int8WeightOnlyConfig")
