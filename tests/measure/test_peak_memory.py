from __future__ import annotations

from torch import nn

from distill_lab.measure.peak_memory import peak_memory_mib, size_bytes

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


def test_dropout_is_off_while_measuring():
    # A dropout that works would hold a mask and an output of its own.
    assert peak_memory_mib(nn.Dropout(0.5).train(), (100,)) * MIB == 4 * 100
