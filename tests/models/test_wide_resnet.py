from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from distill_lab.knowledge.taps import forward_with_taps, tap_shapes
from distill_lab.models.wide_resnet import PreActivationBlock, WideResNet

LAYERS = ["layer1", "layer2", "layer3"]


def make(input_shape=(3, 32, 32), num_classes=100, **knobs):
    defaults = {"depth": 10, "widen_factor": 1, "base_width": 16}
    return WideResNet(input_shape=input_shape, num_classes=num_classes, **(defaults | knobs))


def images(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


class Published:
    """The network as the paper draws it, every block with its own two batch norms.

    It takes its weights from a network of ours one by one, in their order of definition.
    """

    def __init__(self, net, depth, widen_factor):
        self.modules = iter([*net.modules()])
        self.num_blocks = (depth - 4) // 6
        self.widths = [16 * widen_factor * factor for factor in (1, 2, 4)]

    def following(self, kind):
        return next(module for module in self.modules if isinstance(module, kind))

    def norm_relu(self, maps):
        norm = self.following(nn.BatchNorm2d)
        mean, var = norm.running_mean, norm.running_var
        return F.relu(F.batch_norm(maps, mean, var, norm.weight, norm.bias, eps=norm.eps))

    def conv(self, maps, stride):
        weight = self.following(nn.Conv2d).weight
        return F.conv2d(maps, weight, stride=stride, padding=weight.shape[-1] // 2)

    def block(self, maps, width, stride):
        activated = self.norm_relu(maps)
        residual = self.conv(self.norm_relu(self.conv(activated, stride)), 1)
        same_shape = stride == 1 and maps.shape[1] == width
        return residual + (maps if same_shape else self.conv(activated, stride))

    def __call__(self, inputs):
        maps = self.conv(inputs, 1)
        for stage, width in enumerate(self.widths):
            for number in range(self.num_blocks):
                maps = self.block(maps, width, stride=2 if stage > 0 and number == 0 else 1)
        pooled = self.norm_relu(maps).mean((2, 3))
        linear = self.following(nn.Linear)
        return F.linear(pooled, linear.weight, linear.bias)


@pytest.mark.parametrize("widen_factor", [1, 2])
def test_it_computes_what_the_paper_draws(widen_factor):
    torch.manual_seed(0)
    net = make(depth=16, widen_factor=widen_factor)
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
    net(images(4, 3, 16, 16))  # gives the batch norms statistics of their own
    net.eval()
    inputs = images(2, 3, 16, 16)
    expected = Published(net, 16, widen_factor)(inputs)
    torch.testing.assert_close(net(inputs), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("input_shape", [(1, 14, 14), (1, 28, 28), (3, 33, 31), (2, 4, 4)])
def test_logits_have_one_column_per_class_for_any_image(input_shape):
    net = make(input_shape, num_classes=7)
    assert net(torch.zeros(2, *input_shape)).shape == (2, 7)


def test_taps_read_the_stem_each_stage_and_the_pooled_vector():
    net = make(depth=16, widen_factor=2)
    assert tap_shapes(net, (3, 32, 32), net.taps) == {
        "stem": (2, 16, 32, 32),
        "layer1": (2, 32, 32, 32),
        "layer2": (2, 64, 16, 16),
        "layer3": (2, 128, 8, 8),
        "pool": (2, 128),
    }


def test_a_stage_is_read_after_its_last_activation_before_it_and_as_the_bare_sum():
    net = make(depth=16)
    taps = [f"{layer}{end}" for layer in LAYERS for end in ("", ":preactivation", ".1")]
    features = forward_with_taps(net, images(2, 3, 16, 16), taps).features
    for layer in LAYERS:
        before = features[f"{layer}:preactivation"]
        assert before.min() < 0
        assert torch.equal(features[layer], before.relu())
        norm = net.get_submodule(f"{layer}.2.0")
        torch.testing.assert_close(norm(features[f"{layer}.1"]), before)


def test_the_stem_shows_no_preactivation():
    with pytest.raises(ValueError, match="'stem' of WideResNet shows no preactivation"):
        tap_shapes(make(), (3, 8, 8), ["stem:preactivation"])


def still(block):
    """The block with a residual of 0."""
    nn.init.zeros_(block.residual[-1].weight)
    return block.eval()


def test_a_block_of_one_shape_hands_its_input_on_untouched():
    maps = images(2, 3, 4, 4)
    assert torch.equal(still(PreActivationBlock(3, 3, stride=1))(maps), maps)


def test_a_block_that_changes_shape_sees_activated_maps_on_both_ways():
    block = still(PreActivationBlock(3, 6, stride=2))
    assert torch.equal(block(-images(2, 3, 4, 4).abs()), torch.zeros(2, 6, 2, 2))


def test_convolutions_start_with_the_deviation_of_he_initialisation():
    torch.manual_seed(0)
    # First convolution of the second stage, 16 -> 32 channels: sqrt(2 / fan out).
    weight = next(weight for weight in make().parameters() if weight.shape == (32, 16, 3, 3))
    assert weight.std().item() == pytest.approx((2 / (9 * 32)) ** 0.5, rel=0.05)


@pytest.mark.parametrize(
    ("depth", "nearest"), [(12, "10 and 16"), (20, "16 and 22"), (39, "34 and 40"), (4, "10")]
)
def test_an_unsupported_depth_names_the_nearest_ones(depth, nearest):
    with pytest.raises(ValueError, match=rf"^depth: .* got {depth}\. Nearest: {nearest}\.$"):
        make(depth=depth)


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("widen_factor", 0),
        ("base_width", 0),
        ("input_shape", (64,)),
        ("input_shape", (3, 3, 32)),
    ],
)
def test_a_knob_out_of_range_is_named(knob, value):
    with pytest.raises(ValueError, match=f"^{knob}: must be .* got "):
        make(**{knob: value})
