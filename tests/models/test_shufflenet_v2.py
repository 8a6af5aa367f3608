from __future__ import annotations

import pytest
import torch

from distill_lab.knowledge.taps import forward_with_taps
from distill_lab.models.shufflenet_v2 import ShuffleNetV2


def make(input_shape=(3, 32, 32), num_classes=7, **knobs):
    defaults = {"widths": [8, 12, 16, 20]}
    return ShuffleNetV2(input_shape=input_shape, num_classes=num_classes, **(defaults | knobs))


@pytest.mark.parametrize("input_shape", [(1, 8, 8), (3, 33, 31), (2, 64, 64)])
def test_logits_have_one_column_per_class_for_any_image(input_shape):
    assert make(input_shape)(torch.zeros(2, *input_shape)).shape == (2, 7)


def test_taps_read_each_stage_after_its_activation():
    net = make().eval()
    inputs = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    features = forward_with_taps(net, inputs, net.taps).features
    assert {tap: tuple(feature.shape[1:]) for tap, feature in features.items()} == {
        "conv1": (24, 32, 32),
        "stage2": (8, 16, 16),
        "stage3": (12, 8, 8),
        "stage4": (16, 4, 4),
        "pool": (20,),
    }
    assert all(feature.min() >= 0 for feature in features.values())


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("widths", [8, 12, 16]),
        ("widths", [8, 13, 16, 20]),
        ("widths", [8, 12, 0, 20]),
        ("input_shape", (64,)),
    ],
)
def test_a_knob_out_of_range_is_named(knob, value):
    with pytest.raises(ValueError, match=f"^{knob}: must be .* got "):
        make(**{knob: value})
