"""Linear layers with int8 weights, by torchao."""

from __future__ import annotations

from copy import deepcopy

from torch import nn


def with_int8_linears(net: nn.Module, config: str) -> nn.Module:
    """Return a copy whose linear layers are quantized.

    Args:
        net: any network.
        config: name of the class in `torchao.quantization` that says how.
    """
    from torchao import quantization  # takes seconds

    copy = deepcopy(net).eval()
    # Settings of the compiler, which is not used here, are left alone.
    quantization.quantize_(copy, getattr(quantization, config)(set_inductor_config=False))
    return copy
