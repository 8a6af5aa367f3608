from __future__ import annotations

import pytest
import torch
from torch import nn

from distill_lab.compress.export_torch import TorchGraph
from distill_lab.compress.quantize_linear import QuantizeLinear
from distill_lab.measure.peak_memory import peak_memory_mib, peak_with_mib, plain, size_bytes

MIB = 2**20


class Residual(nn.Module):
    """relu(2x) + 2x, so 2x outlives the operator that reads it first."""

    def forward(self, inputs):
        doubled = inputs * 2
        activated = doubled.relu()
        return activated + doubled


def test_size_counts_buffers_and_the_bytes_of_each_dtype():
    # Weight, bias, running mean and variance of 5 float32 each, one int64 counter.
    assert size_bytes(nn.BatchNorm1d(5)) == 4 * 5 * 4 + 8
    assert size_bytes(nn.Linear(10, 20).half()) == 220 * 2


def test_peak_memory_of_a_chain_worked_by_hand():
    net = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 5))
    weights = 4 * (10 * 20 + 20 + 20 * 5 + 5)
    # Worst after the ReLU: the network's input (10), the ReLU's input (20) and its output (20).
    assert peak_memory_mib(net, (10,)) * MIB == weights + 4 * (10 + 20 + 20)


def test_peak_memory_grows_with_the_batch_in_its_activations_only():
    net = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 5))
    weights = 4 * (10 * 20 + 20 + 20 * 5 + 5)
    assert peak_memory_mib(net, (10,), batch_size=8) * MIB == weights + 8 * 4 * (10 + 20 + 20)


def test_peak_memory_counts_what_a_shortcut_keeps_alive():
    # Input, doubled, activated and the sum, 100 floats each.
    assert peak_memory_mib(Residual(), (100,)) * MIB == 4 * 4 * 100


def test_peak_memory_counts_a_view_and_an_in_place_operator_as_nothing_new():
    net = nn.Sequential(nn.Flatten(), nn.ReLU(inplace=True), nn.Unflatten(1, (2, 50)))
    assert peak_memory_mib(net, (10, 10)) * MIB == 4 * 100


@pytest.mark.parametrize("dynamic", [False, True])
def test_int8_weights_count_a_byte_each_and_in_float_while_they_are_turned_back(dynamic):
    net = nn.Sequential(nn.Linear(100, 200), nn.ReLU(), nn.Linear(200, 10)).eval()
    int8 = QuantizeLinear(dynamic).begin(net, torch.zeros(4, 100), 0)
    # Of each of 210 rows a float scale, an int8 zero and a float bias; 22,000 weights.
    held = 22_000 + 210 * (4 + 1 + 4)
    assert size_bytes(int8) == held
    peak = peak_memory_mib(int8, (100,)) * MIB
    if dynamic:  # no float copy of a weight is made: it is at most the int8 product in int32
        assert held + 4 * (100 + 200) <= peak < held + 4 * 2200
    else:  # worst in the first layer: its weight in float, its input and its output
        assert peak == held + 4 * (20_000 + 100 + 200)


def test_what_torch_export_left_needs_what_the_network_needs():
    net = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 5))
    graph = TorchGraph.of(net, torch.zeros(4, 10))
    weights = 4 * (10 * 20 + 20 + 20 * 5 + 5)
    peak = peak_with_mib(graph, torch.zeros(1, 10), graph.weights)
    assert peak * MIB == weights + 4 * (10 + 20 + 20)


def test_int8_weights_take_as_much_in_what_torch_export_left():
    net = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 10)).eval()
    int8 = QuantizeLinear(False).begin(net, torch.zeros(4, 64), 0)
    graph = TorchGraph.of(int8, torch.zeros(4, 64))
    peak = peak_with_mib(graph, torch.zeros(1, 64), list(plain(graph.weights)))
    assert peak == peak_memory_mib(int8, (64,))


class Shifted(nn.Module):
    """Adds what torch.export finds in three places: a buffer, an attribute and a literal."""

    def __init__(self):
        super().__init__()
        self.register_buffer("unsaved", torch.ones(20), persistent=False)
        self.attribute = torch.ones(30, 1, 1)

    def forward(self, inputs):
        return inputs + self.unsaved + self.attribute.sum() + torch.tensor([2.0])


def test_constants_of_what_torch_export_left_count_once():
    graph = TorchGraph.of(Shifted(), torch.zeros(4, 20))
    assert sorted(one.numel() for one in graph.weights) == [1, 20, 30]


def test_dropout_is_off_while_measuring():
    # A dropout that works would hold a mask and an output of its own.
    assert peak_memory_mib(nn.Dropout(0.5).train(), (100,)) * MIB == 4 * 100
