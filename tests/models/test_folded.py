from __future__ import annotations

import pytest
import torch
from torch import nn

from distill_lab.models.cifar_resnet import CifarResNet
from distill_lab.models.folded import folded


def lived_in(net: nn.Module, *shape: int) -> nn.Module:
    """The network in eval mode, with batch statistics of its own."""
    torch.manual_seed(1)
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
    for _ in range(3):
        net(torch.randn(8, *shape))
    return net.eval()


def norms_of(net: nn.Module) -> int:
    return sum(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in net.modules())


def resnet() -> nn.Module:
    net = CifarResNet(input_shape=(3, 8, 8), num_classes=5, depth=14, stem_width=4, width=4)
    return lived_in(net, 3, 8, 8)


def check_same(net: nn.Module, *shape: int) -> nn.Module:
    small = folded(net)
    inputs = torch.randn(6, *shape)
    torch.testing.assert_close(small(inputs), net(inputs), rtol=1e-4, atol=1e-4)
    return small


def test_every_batch_norm_of_a_resnet_is_folded_and_the_outputs_stay():
    net = resnet()
    before = norms_of(net)
    assert before == 15
    assert norms_of(check_same(net, 3, 8, 8)) == 0
    assert norms_of(net) == before


def test_paths_of_modules_stay():
    net = resnet()
    assert {name for name, _ in net.named_modules()} == {n for n, _ in folded(net).named_modules()}


def test_after_a_linear_layer_too():
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
    assert norms_of(check_same(lived_in(net, 4), 4)) == 0


def test_a_layer_whose_own_output_is_read_stays_as_it_is():
    net = lived_in(nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6)), 4)
    assert folded(net, keep=("0",)) is net
    assert norms_of(folded(net, keep=("1",))) == 0


class Forked(nn.Module):
    """The convolution's output is read twice, so the norm cannot become part of it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)
        self.norm = nn.BatchNorm2d(2)

    def forward(self, inputs):
        maps = self.conv(inputs)
        return (self.norm(maps) + maps).mean((2, 3))


class Twice(nn.Module):
    """One convolution runs before two different norms."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)
        self.first, self.second = nn.BatchNorm2d(2), nn.BatchNorm2d(2)

    def forward(self, inputs):
        return self.second(self.conv(self.first(self.conv(inputs)))).mean((2, 3))


class Untraceable(nn.Module):
    """Its path depends on the numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)
        self.norm = nn.BatchNorm2d(2)

    def forward(self, inputs):
        return self.norm(self.conv(inputs if inputs.sum() > 0 else -inputs)).mean((2, 3))


@pytest.mark.parametrize("kind", [Forked, Twice, Untraceable])
def test_what_cannot_be_folded_safely_is_left_as_it_is(kind):
    net = lived_in(kind(), 2, 4, 4)
    assert folded(net) is net


def test_a_norm_without_running_statistics_is_left():
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6, track_running_stats=False)).eval()
    assert folded(net) is net


def test_a_network_without_batch_norm_is_returned_itself():
    net = nn.Linear(3, 2)
    assert folded(net) is net
