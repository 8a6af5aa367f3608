"""Linear layers in int8, by torchao."""

from __future__ import annotations

from copy import deepcopy

from torch import Tensor, nn

from distill_lab.compress.base import Step
from distill_lab.compress.layers import require_reach


class QuantizeLinear(Step):
    """Each row of a linear layer's weight becomes int8 with a scale of its own.

    Inputs stay floats, and the weight is turned back into floats in every pass, which saves bytes,
    not time; or, where `dynamic`, inputs become int8 per sample as they come, without calibration.
    Source: torchao 0.18, `Int8WeightOnlyConfig` and `Int8DynamicActivationInt8WeightConfig`.

    Args:
        dynamic: whether inputs become int8 too.
    """

    gives = "int8"
    makes_int8 = True

    def __init__(self, dynamic: bool) -> None:
        self.dynamic = dynamic

    def check(self, net: nn.Module, example: Tensor) -> None:
        """Refuse a network most of whose weights are not in linear layers."""
        require_reach(net, (nn.Linear,))

    def begin(self, net: nn.Module, examples: Tensor, number: int) -> nn.Module:
        """Return a copy with int8 weights."""
        from torchao import quantization  # takes seconds

        self.check(net, examples)
        weights = quantization.Int8WeightOnlyConfig
        both = quantization.Int8DynamicActivationInt8WeightConfig
        copy = deepcopy(net).eval()
        # Settings of the compiler, which is not used here, are left alone.
        config = (both if self.dynamic else weights)(set_inductor_config=False)
        quantization.quantize_(copy, config)
        return copy
