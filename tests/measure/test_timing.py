from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from distill_lab.measure import timing
from distill_lab.measure.timing import Latency, latencies_on, latency, throughput

WARM_UP = 5


class Slow(nn.Module):
    """Every pass takes as long as is told, by a clock of its own; the last one is repeated."""

    def __init__(self, *seconds):
        super().__init__()
        self.seconds, self.now, self.passes = list(seconds), 0.0, 0

    def forward(self, inputs):
        self.now += self.seconds[min(self.passes, len(self.seconds) - 1)]
        self.passes += 1
        return inputs


@pytest.fixture
def slow(monkeypatch):
    def make(*seconds):
        net = Slow(*seconds)
        clock = SimpleNamespace(perf_counter=lambda: net.now)
        monkeypatch.setattr(timing, "time", clock)
        return net

    return make


def test_percentiles_of_latency_are_those_of_the_passes_after_the_warm_up(slow):
    # 1, 2, ..., 101 milliseconds, out of order: q percent of them are below 1 + q.
    milliseconds = [1 + (7 * n) % 101 for n in range(101)]
    net = slow(*[60.0] * WARM_UP, *[ms / 1000 for ms in milliseconds])
    found = latency(net, (3,), repeats=101)
    assert vars(found) == pytest.approx(
        {"p25_ms": 26, "p50_ms": 51, "p75_ms": 76, "p90_ms": 91, "p99_ms": 100}
    )


def test_latencies_on_given_inputs_are_of_those_and_taken_in_turns():
    asked = []
    nets = [nn.Identity(), nn.Identity()]
    for number, net in enumerate(nets):
        net.register_forward_pre_hook(
            lambda module, given, number=number: asked.append((number, tuple(given[0].shape)))
        )
    found = latencies_on(nets, torch.zeros(1, 7), repeats=3)
    assert all(0 < one.p25_ms <= one.p50_ms <= one.p75_ms <= one.p99_ms for one in found)
    assert asked[-6:] == [(0, (1, 7)), (1, (1, 7))] * 3


def test_latency_of_one_pass_has_one_value(slow):
    assert latency(slow(0.002), (10,), repeats=1) == Latency(*[pytest.approx(2.0)] * 5)


def test_latency_refuses_no_repeats():
    with pytest.raises(ValueError, match=r"^repeats: must be >= 1, got 0\."):
        latency(nn.Linear(2, 2), (2,), repeats=0)


def test_latency_refuses_a_network_without_weights():
    with pytest.raises(ValueError, match="meta device"):
        latency(nn.Linear(2, 2, device="meta"), (2,), repeats=1)


def test_throughput_is_the_samples_of_a_batch_over_the_seconds_of_a_pass(slow):
    # 8 samples in 1, 2 and 4 seconds are 8, 4 and 2 a second; then the 7 seconds are over.
    net = slow(*[0.0] * WARM_UP, 1.0, 2.0, 4.0)
    found = throughput(net, torch.zeros(8, 3), seconds=7.0)
    assert (found.batch_size, found.passes) == (8, 3)
    assert (found.lower, found.per_second, found.upper) == pytest.approx((3, 4, 6))


def test_a_fast_network_is_asked_thirty_times(slow):
    net = slow(0.001)
    assert throughput(net, torch.zeros(2, 3), seconds=10.0).passes == 30
    assert net.passes == WARM_UP + 30


def test_a_network_that_takes_longer_than_there_is_time_is_asked_once_after_one_warm_up(slow):
    net = slow(10.0, 5.0)
    found = throughput(net, torch.zeros(20, 3), seconds=1.0)
    assert (found.passes, net.passes) == (1, 2)
    assert found.lower == found.per_second == found.upper == 4.0
