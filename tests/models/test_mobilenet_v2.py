from __future__ import annotations

import pytest
import torch

from distill_lab.knowledge.taps import tap_shapes
from distill_lab.models.mobilenet_v2 import InvertedResidual, MobileNetV2


def make(input_shape=(3, 32, 32), num_classes=7, **knobs):
    defaults = {"width_multiplier": 0.5, "expansion": 2}
    return MobileNetV2(input_shape=input_shape, num_classes=num_classes, **(defaults | knobs))


@pytest.mark.parametrize("input_shape", [(1, 8, 8), (3, 33, 31), (2, 64, 64)])
def test_logits_have_one_column_per_class_for_any_image(input_shape):
    assert make(input_shape)(torch.zeros(2, *input_shape)).shape == (2, 7)


def test_taps_are_the_ends_of_the_resolutions():
    net = make()
    assert tap_shapes(net, (3, 64, 64), net.taps) == {
        "stem": (2, 16, 32, 32),
        "layer1": (2, 12, 32, 32),
        "layer2": (2, 16, 16, 16),
        "layer3": (2, 48, 8, 8),
        "layer4": (2, 160, 4, 4),
        "pool": (2, 1280),
    }


def test_above_full_width_the_head_grows_too():
    net = make(width_multiplier=1.5, expansion=1)
    assert tap_shapes(net, (3, 32, 32), ["pool"]) == {"pool": (2, 1920)}


@pytest.mark.parametrize(("fan_in", "stride", "adds"), [(4, 1, True), (3, 1, False), (4, 2, False)])
def test_a_block_adds_its_input_where_the_shape_is_the_same(fan_in, stride, adds):
    block = InvertedResidual(fan_in, 4, stride, expansion=2).eval()
    with torch.no_grad():
        for parameter in block.residual.parameters():
            parameter.zero_()
    maps = torch.randn(2, fan_in, 6, 6, generator=torch.Generator().manual_seed(0))
    side = 6 // stride
    expected = maps if adds else torch.zeros(2, 4, side, side)
    assert torch.equal(block(maps), expected)


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("width_multiplier", 0.01),
        ("width_multiplier", -1.0),
        ("expansion", 0),
        ("input_shape", (64,)),
    ],
)
def test_a_knob_out_of_range_is_named(knob, value):
    with pytest.raises(ValueError, match=f"^{knob}: must be .* got "):
        make(**{knob: value})
