from __future__ import annotations

import pytest
import torch

from distill_lab.knowledge.taps import tap_shapes
from distill_lab.measure.cost import count_parameters
from distill_lab.models.resnet import ResNet


def make(input_shape=(3, 32, 32), num_classes=7, **knobs):
    defaults = {"depth": 18, "small_images": True}
    return ResNet(input_shape=input_shape, num_classes=num_classes, **(defaults | knobs))


@pytest.mark.parametrize("small_images", [True, False])
@pytest.mark.parametrize("input_shape", [(1, 8, 8), (3, 33, 31)])
def test_logits_have_one_column_per_class_for_any_image(input_shape, small_images):
    net = make(input_shape, small_images=small_images)
    assert net(torch.zeros(2, *input_shape)).shape == (2, 7)


@pytest.mark.parametrize(("small_images", "side"), [(True, 32), (False, 8)])
def test_the_stem_for_small_images_keeps_the_resolution(small_images, side):
    with torch.device("meta"):
        net = make(depth=50, small_images=small_images)
    assert tap_shapes(net, (3, 32, 32), net.taps) == {
        "relu": (2, 64, *(2 * [32 if small_images else 16])),
        "layer1": (2, 256, side, side),
        "layer2": (2, 512, side // 2, side // 2),
        "layer3": (2, 1024, side // 4, side // 4),
        "layer4": (2, 2048, side // 8, side // 8),
        "avgpool": (2, 2048),
    }


# Published with torchvision's weights, 1000 classes.
@pytest.mark.parametrize(
    ("depth", "parameters"),
    [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032), (101, 44_549_160), (152, 60_192_808)],
)
def test_parameters_are_those_of_imagenet(depth, parameters):
    with torch.device("meta"):
        net = make((3, 224, 224), 1000, depth=depth, small_images=False)
    assert count_parameters(net) == parameters


@pytest.mark.parametrize(("knob", "value"), [("depth", 20), ("input_shape", (64,))])
def test_a_knob_out_of_range_is_named(knob, value):
    with pytest.raises(ValueError, match=f"^{knob}: must be .* got "):
        make(**{knob: value})
