"""What one inference of a network costs: multiply-accumulates, bytes, time and memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from distill_lab.contracts import placeholder
from distill_lab.measure.modes import evaluating
from distill_lab.measure.peak_memory import peak_memory_mib, size_bytes
from distill_lab.measure.timing import Latency, latency


@dataclass(frozen=True)
class Cost:
    """Cost of a network at batch size 1; lower is better in every field.

    Attributes:
        parameters: trainable and frozen, shared ones once.
        macs: multiply-accumulates of the convolutions and matrix products of one forward pass.
        size_bytes: parameters and buffers in their present dtype.
        latency_ms: median time of one forward pass, milliseconds.
        latency_p90_ms: 90th percentile of it, milliseconds.
        peak_memory_mib: weights and live activations at the worst moment, MiB.
    """

    parameters: int
    macs: int
    size_bytes: int
    latency_ms: float
    latency_p90_ms: float
    peak_memory_mib: float


def measure_cost(net: nn.Module, input_shape: tuple[int, ...], repeats: int) -> Cost:
    """Measure everything at batch size 1, on the device where the network is.

    Args:
        net: takes (B, *input_shape), see `contracts.placeholder`; its mode is left as it was.
        input_shape: shape of one input, no batch axis.
        repeats: timed forward passes, >= 1.

    Raises:
        ValueError: `repeats` < 1, or the network is on the meta device and cannot be timed.
    """
    return cost_with(latency(net, input_shape, repeats), net, input_shape)


def cost_with(timed: Latency, net: nn.Module, input_shape: tuple[int, ...]) -> Cost:
    """Count what can be counted, beside a time that was measured; see `measure_cost`."""
    return Cost(
        parameters=count_parameters(net),
        macs=count_macs(net, input_shape),
        size_bytes=size_bytes(net),
        latency_ms=timed.p50_ms,
        latency_p90_ms=timed.p90_ms,
        peak_memory_mib=peak_memory_mib(net, input_shape),
    )


def count_parameters(net: nn.Module) -> int:
    """Count the elements of all parameters, trainable or not; a shared one counts once.

    >>> count_parameters(nn.Linear(10, 20))
    220
    """
    return sum(parameter.numel() for parameter in net.parameters())


def count_macs(net: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Count multiply-accumulates of one forward pass at batch size 1.

    Convolutions, matrix products and attention are counted; normalisation, activations, pooling
    and the addition of biases are not, as in the tables of the papers. Works on the meta device.

    Args:
        net: its train or eval mode is left as it was.
        input_shape: shape of one input, no batch axis.
    """
    from torch.utils.flop_counter import FlopCounterMode  # loads triton where there is one

    counter = FlopCounterMode(display=False)
    with evaluating(net), _unfused(), _frozen(net), torch.no_grad(), counter:
        net(placeholder(net, input_shape, batch_size=1))
    return counter.get_total_flops() // 2


@contextmanager
def _unfused() -> Iterator[None]:
    """Let recurrent layers and attention be products of matrices.

    oneDNN's operator for the first and the CPU's for the second cannot be looked into.
    """
    mkldnn: Any = torch.backends.mkldnn
    before = mkldnn.enabled
    mkldnn.enabled = False
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        mkldnn.enabled = before


@contextmanager
def _frozen(net: nn.Module) -> Iterator[None]:
    """Let no parameter ask for a gradient: the counter fails on one that is a module's input."""
    learnt = [parameter for parameter in net.parameters() if parameter.requires_grad]
    for parameter in learnt:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learnt:
            parameter.requires_grad_(True)
