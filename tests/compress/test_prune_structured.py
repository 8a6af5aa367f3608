from __future__ import annotations

import pytest
import torch
from torch import nn

from distill_lab.compress.prune_structured import PruneStructured
from distill_lab.models.cifar_resnet import CifarResNet
from distill_lab.models.shufflenet_v2 import ShuffleNetV2

HALF = PruneStructured(0.5, 1, 0)


def count(net):
    return sum(p.numel() for p in net.parameters())


def test_the_units_of_smallest_weights_go_and_the_rest_says_what_it_said():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    with torch.no_grad():  # units 1, 2 and 5 say nothing
        for unit in (1, 2, 5):
            net[0].weight[unit] *= 1e-3
            net[2].weight[:, unit] = 0
    inputs = torch.randn(7, 5)
    pruned = HALF.begin(net, inputs, 0)
    assert torch.equal(pruned[0].weight, net[0].weight[[0, 3, 4]])
    torch.testing.assert_close(pruned(inputs), net(inputs))


def test_shortcuts_lose_the_channels_of_what_they_are_added_to():
    torch.manual_seed(0)
    knobs = {"depth": 8, "stem_width": 8, "width": 8}
    net = CifarResNet(input_shape=(3, 8, 8), num_classes=4, **knobs).eval()
    pruned = HALF.begin(net, torch.randn(2, 3, 8, 8), 0)
    narrow = {"depth": 8, "stem_width": 4, "width": 4}
    assert count(pruned) == count(CifarResNet(input_shape=(3, 8, 8), num_classes=4, **narrow))


def test_two_rounds_leave_about_what_one_leaves():
    net = nn.Sequential(nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, 3)).eval()
    step = PruneStructured(0.75, 2, 1)
    widths = []
    for number in range(2):
        net = step.begin(net, torch.randn(2, 5), number)
        widths.append(net[0].out_features)
    assert widths == [32, 16]


@pytest.mark.parametrize(
    ("net", "inputs", "reason"),
    [
        (
            nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2)),
            torch.zeros(1, 4),
            r"^layer '1' is a LayerNorm, which mixes its channels",
        ),
        (
            nn.Sequential(nn.Conv2d(4, 4, 1, groups=2), nn.Flatten(), nn.Linear(4, 2)),
            torch.zeros(1, 4, 1, 1),
            r"^layer '0' is a convolution of 2 groups",
        ),
        (
            nn.Sequential(nn.Linear(4, 2)),
            torch.zeros(1, 4),
            r"^Sequential has no layer that could lose channels before '0'",
        ),
    ],
    ids=["norm", "groups", "one layer"],
)
def test_what_cannot_be_treated_is_refused_by_the_layer(net, inputs, reason):
    with pytest.raises(ValueError, match=reason):
        HALF.check(net, inputs)


def test_channels_that_are_shuffled_are_found_on_the_meta_device():
    with torch.device("meta"):
        net = ShuffleNetV2(input_shape=(3, 32, 32), num_classes=4, widths=[48, 96, 192, 1024])
        inputs = torch.zeros(2, 3, 32, 32)
    with pytest.raises(ValueError, match=r"the channels that reach layer 'fc' of ShuffleNetV2 "):
        HALF.check(net, inputs)


def test_a_network_without_a_channel_to_spare_is_refused():
    net = nn.Sequential(nn.Linear(4, 1), nn.ReLU(), nn.Linear(1, 2))
    with pytest.raises(ValueError, match=r"^no layer of Sequential has a channel to spare; .*'0'"):
        HALF.begin(net, torch.zeros(1, 4), 0)
