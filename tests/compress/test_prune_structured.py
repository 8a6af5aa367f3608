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


@pytest.mark.parametrize(
    ("width", "widths"),  # width * 0.5 ** (round / 4), to the nearest
    [(4, [3, 3, 2, 2]), (8, [7, 6, 5, 4]), (16, [13, 11, 10, 8]), (64, [54, 45, 38, 32])],
)
def test_four_rounds_leave_what_one_leaves(width, widths):
    net = nn.Sequential(nn.Linear(5, width), nn.ReLU(), nn.Linear(width, 3)).eval()
    step, inputs, found = PruneStructured(0.5, 4, 1), torch.randn(2, 5), []
    [once] = [HALF.begin(net, inputs, 0)[0].out_features]
    for number in range(4):
        net = step.begin(net, inputs, number)
        found.append(net[0].out_features)
    assert (found, once) == (widths, widths[-1])
    again = HALF.begin(net, inputs, 0)  # of another chain's beginning, not of its first network
    assert again[0].out_features == width // 4


def test_what_a_projector_ends_in_stays_as_wide_as_the_teacher_s_features():
    class Reusing(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Linear(5, 8)
            self.projector = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 6))
            self.classifier = nn.Linear(6, 3)

        def forward(self, inputs):
            return self.classifier(self.projector(self.encoder(inputs)))

    net = HALF.begin(Reusing().eval(), torch.randn(2, 5), 0)
    assert [len(net.encoder.weight), len(net.projector[0].weight)] == [4, 2]
    assert net.projector[2].weight.shape == (6, 2)


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


def test_a_layer_that_would_lose_all_its_channels_is_named_with_what_it_can_lose():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2), nn.ReLU(), nn.Linear(2, 2))
    reason = r"^layer '2', which has 2, would lose all its channels\. Take .* at most 0\.74\.$"
    with pytest.raises(ValueError, match=reason):
        PruneStructured(0.75, 1, 0).check(net, torch.zeros(1, 4))
    pruned = PruneStructured(0.74, 1, 0).begin(net, torch.zeros(1, 4), 0)
    assert [pruned[0].out_features, pruned[2].out_features] == [2, 1]


def test_a_fraction_that_takes_no_channel_is_refused():
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    reason = r"^no layer of Sequential loses a channel; the widest, '0', has 3\. .* above 0\.17\."
    with pytest.raises(ValueError, match=reason):
        PruneStructured(0.05, 1, 0).check(net, torch.zeros(1, 4))
