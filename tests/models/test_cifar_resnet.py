from __future__ import annotations

import pytest
import torch

from distill_lab.models.cifar_resnet import BasicBlock, CifarResNet


def make(input_shape=(3, 32, 32), num_classes=100, **knobs):
    defaults = {"depth": 8, "stem_width": 16, "width": 16}
    return CifarResNet(input_shape=input_shape, num_classes=num_classes, **(defaults | knobs))


@pytest.mark.parametrize("input_shape", [(1, 8, 8), (3, 33, 31), (2, 4, 4)])
def test_logits_have_one_column_per_class_for_any_image(input_shape):
    net = make(input_shape, num_classes=7)
    assert net(torch.zeros(2, *input_shape)).shape == (2, 7)


def test_taps_read_each_stage_after_its_activation():
    net = make(stem_width=32, width=64)
    seen = {}
    for tap in net.taps:
        net.get_submodule(tap).register_forward_hook(
            lambda module, args, output, tap=tap: seen.update({tap: output})
        )
    net(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert {tap: tuple(features.shape) for tap, features in seen.items()} == {
        "stem": (2, 32, 32, 32),
        "layer1": (2, 64, 32, 32),
        "layer2": (2, 128, 16, 16),
        "layer3": (2, 256, 8, 8),
        "pool": (2, 256),
    }
    assert all(features.min() >= 0 for features in seen.values())


def test_block_activates_the_sum_of_residual_and_shortcut():
    block = BasicBlock(3, 3, stride=1).eval()
    with torch.no_grad():
        for parameter in block.residual.parameters():
            parameter.zero_()
        # The bias of the last batch norm: the residual is -2 everywhere.
        list(block.residual.parameters())[-1].fill_(-2.0)
    maps = torch.tensor([1.0, -2.0, 3.0]).view(1, 3, 1, 1)
    assert block(maps).flatten().tolist() == [0.0, 0.0, 1.0]


def test_convolutions_start_with_the_deviation_of_he_initialisation():
    torch.manual_seed(0)
    net = make()
    # First convolution of the second stage, 16 -> 32 channels: sqrt(2 / fan out).
    weight = next(weight for weight in net.parameters() if weight.shape == (32, 16, 3, 3))
    assert weight.std().item() == pytest.approx((2 / (9 * 32)) ** 0.5, rel=0.05)


@pytest.mark.parametrize(
    ("depth", "nearest"), [(10, "8 and 14"), (18, "14 and 20"), (49, "44 and 50"), (2, "8")]
)
def test_an_unsupported_depth_names_the_nearest_ones(depth, nearest):
    with pytest.raises(ValueError, match=rf"^depth: .* got {depth}\. Nearest: {nearest}\.$"):
        make(depth=depth)


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("width", 0),
        ("stem_width", 0),
        ("input_shape", (64,)),
        ("input_shape", (3, 3, 32)),
    ],
)
def test_a_knob_out_of_range_is_named(knob, value):
    with pytest.raises(ValueError, match=f"^{knob}: must be .* got "):
        make(**{knob: value})
