from __future__ import annotations

import pytest
import torch

from distill_lab.knowledge.taps import tap_shapes
from distill_lab.measure.cost import count_macs, count_parameters
from distill_lab.models.mobilenet_v1 import MobileNetV1


def make(input_shape=(3, 64, 64), num_classes=7, width_multiplier=0.25):
    return MobileNetV1(
        input_shape=input_shape, num_classes=num_classes, width_multiplier=width_multiplier
    )


@pytest.mark.parametrize("input_shape", [(1, 8, 8), (3, 33, 31), (2, 64, 64)])
def test_logits_have_one_column_per_class_for_any_image(input_shape):
    assert make(input_shape)(torch.zeros(2, *input_shape)).shape == (2, 7)


def test_taps_are_the_ends_of_the_resolutions():
    net = make()
    assert tap_shapes(net, (3, 64, 64), net.taps) == {
        "stem": (2, 8, 32, 32),
        "layer1": (2, 16, 32, 32),
        "layer2": (2, 32, 16, 16),
        "layer3": (2, 64, 8, 8),
        "layer4": (2, 128, 4, 4),
        "layer5": (2, 256, 2, 2),
        "pool": (2, 256),
    }


# Table 6 of Howard et al. 2017: millions of parameters and of multiply-accumulates.
@pytest.mark.parametrize(
    ("width_multiplier", "parameters", "macs"),
    [(1.0, 4.2, 569), (0.75, 2.6, 325), (0.5, 1.3, 149), (0.25, 0.5, 41)],
)
def test_parameters_and_macs_are_those_of_the_paper(width_multiplier, parameters, macs):
    with torch.device("meta"):
        net = make((3, 224, 224), 1000, width_multiplier)
    assert count_parameters(net) / 1e6 == pytest.approx(parameters, abs=0.05)
    assert round(count_macs(net, (3, 224, 224)) / 1e6) == macs


@pytest.mark.parametrize(
    ("knob", "value"),
    [("width_multiplier", 0.01), ("width_multiplier", -1.0), ("input_shape", (64,))],
)
def test_a_knob_out_of_range_is_named(knob, value):
    with pytest.raises(ValueError, match=f"^{knob}: must be .* got "):
        make(**{knob: value})
