"""Linear layers in int8, the range of their inputs taken anew for every input."""

from __future__ import annotations

from torch import Tensor, nn

from distill_lab.compress.base import Step
from distill_lab.compress.int8_linear import with_int8_linears
from distill_lab.compress.layers import require_reach


class QuantizeDynamic(Step):
    """Weights are int8 per row; inputs become int8 per sample when they come, without calibration.

    Source: torchao 0.18, `Int8DynamicActivationInt8WeightConfig`.
    """

    gives = "int8"
    makes_int8 = True

    def check(self, net: nn.Module, example: Tensor) -> None:
        """Refuse a network most of whose weights are not in linear layers."""
        require_reach(net, (nn.Linear,))

    def begin(self, net: nn.Module, examples: Tensor, number: int) -> nn.Module:
        """Return a copy with int8 weights that takes its inputs as int8."""
        self.check(net, examples)
        return with_int8_linears(net, "Int8DynamicActivationInt8WeightConfig")
