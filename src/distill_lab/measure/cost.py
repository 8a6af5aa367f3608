"""What one inference of a network costs: multiply-accumulates, bytes, time and memory."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from distill_lab.contracts import placeholder

_WARM_UP_PASSES = 5  # the first passes choose kernels and fill the allocator's pools
_MIB = 2**20


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
    median, p90 = latency(net, input_shape, repeats)
    return Cost(
        parameters=count_parameters(net),
        macs=count_macs(net, input_shape),
        size_bytes=size_bytes(net),
        latency_ms=median,
        latency_p90_ms=p90,
        peak_memory_mib=peak_memory_mib(net, input_shape),
    )


def count_parameters(net: nn.Module) -> int:
    """Count the elements of all parameters, trainable or not; a shared one counts once.

    >>> count_parameters(nn.Linear(10, 20))
    220
    """
    return sum(parameter.numel() for parameter in net.parameters())


def size_bytes(net: nn.Module) -> int:
    """Sum the bytes of parameters and buffers in their present dtype; shared ones count once.

    >>> size_bytes(nn.Linear(10, 20))
    880
    """
    return sum(tensor.nbytes for tensor in chain(net.parameters(), net.buffers()))


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
    with _evaluating(net), _unfused(), _frozen(net), torch.no_grad(), counter:
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


def latency(net: nn.Module, input_shape: tuple[int, ...], repeats: int) -> tuple[float, float]:
    """Time forward passes at batch size 1 in inference mode, after a warm-up.

    Args:
        net: its train or eval mode is left as it was.
        input_shape: shape of one input, no batch axis.
        repeats: timed forward passes, >= 1.

    Returns:
        Median and 90th percentile in milliseconds.

    Raises:
        ValueError: `repeats` < 1, or the network is on the meta device and cannot be timed.
    """
    if repeats < 1:
        raise ValueError(f"repeats: must be >= 1, got {repeats}.")
    inputs = placeholder(net, input_shape, batch_size=1)
    if inputs.is_meta:
        raise ValueError("net: must have real weights to be timed, but is on the meta device.")
    return latencies_on([net], inputs, repeats)[0]


def latencies_on(
    nets: Sequence[nn.Module], inputs: Tensor, repeats: int
) -> list[tuple[float, float]]:
    """Time forward passes on given inputs, of several networks in turns; see `latency`."""
    with _evaluating(nn.ModuleList(nets)), torch.inference_mode():
        for net in nets:
            for _ in range(_WARM_UP_PASSES):
                net(inputs)
        milliseconds = [[_time_once(net, inputs) for net in nets] for _ in range(repeats)]
    return [(float(m), float(p)) for m, p in np.percentile(milliseconds, [50, 90], axis=0).T]


def peak_memory_mib(net: nn.Module, input_shape: tuple[int, ...], batch_size: int = 1) -> float:
    """Count the bytes that one inference forward pass needs at its worst moment.

    That is all parameters and buffers, plus the largest sum of the tensors alive when an operator
    has just finished: the network's input (the caller holds it), the operator's own inputs and
    outputs, and whatever the network still holds on to. A view counts as the tensor it looks into.
    Counted, not sampled, so the same in every run; scratch space inside a kernel and the
    allocator's rounding are left out. Works on the meta device.

    Args:
        net: its train or eval mode is left as it was.
        input_shape: shape of one input, no batch axis.
        batch_size: B, >= 1.
    """
    inputs = placeholder(net, input_shape, batch_size)
    meter = _ActivationMeter(inputs, weights=[*net.parameters(), *net.buffers()])
    with _evaluating(net), torch.no_grad(), meter:
        net(inputs)
    return (size_bytes(net) + meter.peak_bytes) / _MIB


class _ActivationMeter(TorchDispatchMode):
    """Sees every operator and keeps the largest sum of bytes of the storages alive after one."""

    def __init__(self, inputs: Tensor, weights: list[Tensor]) -> None:
        super().__init__()
        self.weights = {StorageWeakRef(weight.untyped_storage()) for weight in weights}
        self.live = {StorageWeakRef(inputs.untyped_storage()): inputs.untyped_storage().nbytes()}
        self.peak_bytes = sum(self.live.values())

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        outputs = func(*args, **(kwargs or {}))
        self.live = {ref: size for ref, size in self.live.items() if not ref.expired()}
        for tensor in _kept_outputs(func, outputs):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                ref = StorageWeakRef(storage)
                if ref not in self.weights:
                    self.live[ref] = storage.nbytes()
        self.peak_bytes = max(self.peak_bytes, sum(self.live.values()))
        return outputs


def _kept_outputs(func: Any, outputs: Any) -> list[Any]:
    """Leave out the statistics of batch norm: in eval mode they are empty, save on meta tensors."""
    return tree_leaves(outputs)[: 1 if func is torch.ops.aten.native_batch_norm.default else None]


def _time_once(net: nn.Module, inputs: Tensor) -> float:
    _synchronize(inputs)
    start = time.perf_counter()
    net(inputs)
    _synchronize(inputs)
    return 1000 * (time.perf_counter() - start)


def _synchronize(inputs: Tensor) -> None:
    # A GPU returns before it has finished.
    if inputs.is_cuda:
        torch.cuda.synchronize(inputs.device)


@contextmanager
def _evaluating(net: nn.Module) -> Iterator[None]:
    # Module by module: a frozen part may be in eval mode inside a network that trains.
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
