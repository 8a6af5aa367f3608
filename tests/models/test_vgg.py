from __future__ import annotations

import pytest
import torch

from distill_lab.knowledge.taps import forward_with_taps
from distill_lab.models.vgg import VGG


def make(input_shape=(3, 32, 32), num_classes=7, **knobs):
    defaults = {"widths": [4, 5, 6, 7, 8], "num_convolutions": [1, 2, 1, 1, 2]}
    return VGG(input_shape=input_shape, num_classes=num_classes, **(defaults | knobs))


@pytest.mark.parametrize("input_shape", [(1, 8, 8), (3, 33, 31), (2, 10, 64)])
def test_logits_have_one_column_per_class_for_any_image(input_shape):
    assert make(input_shape)(torch.zeros(2, *input_shape)).shape == (2, 7)


def test_three_stages_are_halved_and_taps_are_read_before_that_and_after_the_activation():
    net = make().eval()
    inputs = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    features = forward_with_taps(net, inputs, net.taps).features
    assert {tap: tuple(feature.shape[1:]) for tap, feature in features.items()} == {
        "layer1": (4, 32, 32),
        "layer2": (5, 16, 16),
        "layer3": (6, 8, 8),
        "layer4": (7, 4, 4),
        "layer5": (8, 4, 4),
        "pool": (8,),
    }
    assert all(feature.min() >= 0 for feature in features.values())


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("widths", [4, 5, 6, 7]),
        ("widths", [4, 5, 6, 7, 0]),
        ("num_convolutions", [1, 1, 1, 1, 1, 1]),
        ("num_convolutions", [1, 0, 1, 1, 1]),
        ("input_shape", (3, 7, 32)),
        ("input_shape", (64,)),
    ],
)
def test_a_knob_out_of_range_is_named(knob, value):
    with pytest.raises(ValueError, match=f"^{knob}: must be .* got "):
        make(**{knob: value})
