from __future__ import annotations

import pytest
import torch
import yaml
from torch import nn

from distill_lab.config.check import grid
from distill_lab.config.groups import CONF
from distill_lab.contracts import DataInfo
from distill_lab.measure.cost import count_macs, count_parameters, measure_cost
from distill_lab.measure.peak_memory import peak_memory_mib
from distill_lab.measure.timing import latency, throughput

MIB = 2**20
INFO = DataInfo("images", (3, 32, 32), 10, (), (), ())
TEXT = DataInfo("text", (12,), 10, (), (), (), vocabulary_size=11)
SOUND = DataInfo("sound", (1, 40, 96), 10, (), (), ())
LARGE = ("bert_large", "bert_base", "resnet152")
ARCHITECTURES = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem in LARGE))
    for path in sorted((CONF / "architecture").glob("*.yaml"))
]


class Broken(nn.Module):
    def forward(self, inputs):
        raise RuntimeError("broken")


def half_frozen():
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    net.train()
    net[1].eval()
    return net


def modes(net):
    return [module.training for module in net.modules()]


def test_linear_has_weights_and_biases_but_macs_of_the_product_only():
    net = nn.Linear(10, 20)
    assert count_parameters(net) == 220
    assert count_macs(net, (10,)) == 200


def test_convolution_macs_are_kernel_times_channels_times_map():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU())
    assert count_macs(net, (3, 32, 32)) == 3 * 3 * 3 * 8 * 16 * 16


def test_grouped_convolution_macs_are_divided_by_the_groups():
    assert count_macs(nn.Conv2d(8, 8, 3, padding=1, groups=8), (8, 4, 4)) == 3 * 3 * 8 * 4 * 4


def test_shared_weights_are_counted_once_but_used_twice():
    linear = nn.Linear(4, 4, bias=False)
    net = nn.Sequential(linear, linear)
    assert count_parameters(net) == 16
    assert count_macs(net, (4,)) == 32


@pytest.mark.parametrize("path", ARCHITECTURES)
def test_macs_and_memory_are_the_same_on_the_meta_device(path):
    # The preflight counts on meta tensors what stage 3 counts on real ones.
    for component in grid(yaml.safe_load(path.read_text(encoding="utf-8"))):
        pictures = SOUND if path.stem.startswith("kwt") else INFO
        info = TEXT if component.takes_vocabulary else pictures
        net, meta = (make_on(device, component, info) for device in ("cpu", "meta"))
        # Recurrent layers are other operators on real tensors, which keep more, or less.
        recurrent = path.stem in ("bilstm", "gru", "gru4rec")
        close = pytest.approx(
            peak_memory_mib(meta, info.input_shape), rel=0.25 if recurrent else 1e-12
        )
        assert peak_memory_mib(net, info.input_shape) == close
        assert count_macs(meta, info.input_shape) == count_macs(net, info.input_shape)


def make_on(device, component, info):
    with torch.device(device):
        return component.make_network(info)


def test_macs_are_counted_on_the_meta_device():
    with torch.device("meta"):
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 5))
    assert count_macs(net, (3, 8, 8)) == 27 * 4 * 36 + 144 * 5


@pytest.mark.parametrize(
    "measure",
    [
        lambda net: count_macs(net, (3,)),
        lambda net: latency(net, (3,), repeats=2),
        lambda net: throughput(net, torch.zeros(2, 3), seconds=1e-6),
        lambda net: peak_memory_mib(net, (3,)),
        lambda net: measure_cost(net, (3,), repeats=2),
    ],
    ids=["macs", "latency", "throughput", "memory", "all"],
)
def test_measuring_restores_every_mode_and_leaves_the_statistics_alone(measure):
    net = half_frozen()
    before, statistics = modes(net), net[1].running_var.clone()
    measure(net)
    assert modes(net) == before
    assert torch.equal(net[1].running_var, statistics)


def test_the_mode_is_restored_when_the_network_fails():
    net = Broken().train()
    with pytest.raises(RuntimeError, match="broken"):
        count_macs(net, (3,))
    assert net.training


def test_measure_cost_gathers_the_single_measurements():
    cost = measure_cost(nn.Linear(10, 20), (10,), repeats=3)
    assert (cost.parameters, cost.macs, cost.size_bytes) == (220, 200, 880)
    assert cost.peak_memory_mib * MIB == 880 + 4 * (10 + 20)
    assert 0 < cost.latency_ms <= cost.latency_p90_ms


def test_counting_leaves_one_dnn_as_it_was():
    count_macs(nn.Linear(2, 2), (2,))
    assert torch.backends.mkldnn.enabled
    with pytest.raises(RuntimeError, match="broken"):
        count_macs(Broken(), (2,))
    assert torch.backends.mkldnn.enabled


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layers_are_counted_gate_by_gate(kind, gates):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = kind(8, 16, batch_first=True)

        def forward(self, inputs):
            return self.layer(inputs)[0][:, -1]

    assert count_macs(Net(), (5, 8)) == 5 * gates * 16 * (8 + 16)


class Asking(nn.Module):
    """Gives a parameter of its own to a module inside."""

    def __init__(self):
        super().__init__()
        self.query = nn.Parameter(torch.ones(1, 3))
        self.inner = nn.Linear(3, 2)

    def forward(self, inputs):
        return inputs + self.inner(self.query).sum()


def test_a_parameter_may_be_the_input_of_a_module():
    net = Asking()
    assert count_macs(net, (3,)) == 3 * 2
    assert net.query.requires_grad
