"""How long a network takes: one sample at a time, and many at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from distill_lab.contracts import placeholder
from distill_lab.measure.modes import evaluating

_WARM_UP_PASSES = 5  # the first passes choose kernels and fill the allocator's pools
_MOST_PASSES = 30  # per batch size; the quartiles of more would say little else


@dataclass(frozen=True)
class Latency:
    """Time of one forward pass at batch size 1, milliseconds; percentiles of many passes.

    Attributes:
        p25_ms: lower quartile.
        p50_ms: median.
        p75_ms: upper quartile; half of all passes lie between the quartiles.
        p90_ms: one pass of ten takes longer.
        p99_ms: one pass of a hundred takes longer.
    """

    p25_ms: float
    p50_ms: float
    p75_ms: float
    p90_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Throughput:
    """Samples per second at one batch size, over several passes.

    Attributes:
        batch_size: samples in one pass.
        lower: lower quartile.
        per_second: median.
        upper: upper quartile.
        passes: that were timed.
    """

    batch_size: int
    lower: float
    per_second: float
    upper: float
    passes: int


def latency(net: nn.Module, input_shape: tuple[int, ...], repeats: int) -> Latency:
    """Time forward passes at batch size 1 in inference mode, after a warm-up, where the network is.

    Args:
        net: its train or eval mode is left as it was.
        input_shape: shape of one input, no batch axis.
        repeats: timed forward passes, >= 1.

    Raises:
        ValueError: `repeats` < 1, or the network is on the meta device and cannot be timed.
    """
    if repeats < 1:
        raise ValueError(f"repeats: must be >= 1, got {repeats}.")
    inputs = placeholder(net, input_shape, batch_size=1)
    if inputs.is_meta:
        raise ValueError("net: must have real weights to be timed, but is on the meta device.")
    return latencies_on([net], inputs, repeats)[0]


def latencies_on(nets: Sequence[nn.Module], inputs: Tensor, repeats: int) -> list[Latency]:
    """Time forward passes on given inputs, of several networks in turns; see `latency`."""
    with evaluating(nn.ModuleList(nets)), torch.inference_mode():
        for net in nets:
            for _ in range(_WARM_UP_PASSES):
                net(inputs)
        seconds = [
            [_time_once(partial(net, inputs), inputs) for net in nets] for _ in range(repeats)
        ]
    percentiles = 1000 * np.percentile(seconds, [25, 50, 75, 90, 99], axis=0)
    return [Latency(*map(float, column)) for column in percentiles.T]


def throughput(net: nn.Module, inputs: Tensor, seconds: float) -> Throughput:
    """Time passes over a batch in inference mode, after a warm-up.

    At most 30, fewer where `seconds` are over; at least one, however long it takes.

    Args:
        net: its train or eval mode is left as it was.
        inputs: (B, ...), on the device of the network.
        seconds: for the timed passes; the warm-up may take as long.
    """
    ask = partial(net, inputs)
    with evaluating(net), torch.inference_mode():
        _timed(ask, inputs, _WARM_UP_PASSES, seconds)
        taken = _timed(ask, inputs, _MOST_PASSES, seconds)
    size = len(inputs)
    lower, median, upper = np.percentile([size / one for one in taken], [25, 50, 75])
    return Throughput(size, float(lower), float(median), float(upper), len(taken))


def _timed(ask: Callable[[], object], inputs: Tensor, passes: int, seconds: float) -> list[float]:
    taken: list[float] = []
    while len(taken) < passes and sum(taken) < seconds:
        taken.append(_time_once(ask, inputs))
    return taken


def _time_once(ask: Callable[[], object], inputs: Tensor) -> float:
    synchronize(inputs)
    start = time.perf_counter()
    ask()
    synchronize(inputs)
    return time.perf_counter() - start


def synchronize(inputs: Tensor) -> None:
    """Wait for the device of a tensor: a GPU returns before it has finished."""
    if inputs.is_cuda:
        torch.cuda.synchronize(inputs.device)
