from __future__ import annotations

import pytest
import torch

from distill_lab.knowledge.taps import forward_with_taps
from distill_lab.models.shufflenet_v1 import ShuffleBlock, ShuffleNetV1


def make(input_shape=(3, 32, 32), num_classes=7, **knobs):
    defaults = {"widths": [48, 72, 96], "groups": 3}
    return ShuffleNetV1(input_shape=input_shape, num_classes=num_classes, **(defaults | knobs))


@pytest.mark.parametrize("input_shape", [(1, 8, 8), (3, 33, 31), (2, 64, 64)])
def test_logits_have_one_column_per_class_for_any_image(input_shape):
    assert make(input_shape)(torch.zeros(2, *input_shape)).shape == (2, 7)


def test_taps_read_each_stage_after_its_activation():
    net = make().eval()
    inputs = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    features = forward_with_taps(net, inputs, net.taps).features
    assert {tap: tuple(feature.shape[1:]) for tap, feature in features.items()} == {
        "stem": (24, 32, 32),
        "layer1": (48, 16, 16),
        "layer2": (72, 8, 8),
        "layer3": (96, 4, 4),
        "pool": (96,),
    }
    assert all(feature.min() >= 0 for feature in features.values())


def test_a_halving_block_appends_the_averaged_input_and_another_adds_it():
    halving = ShuffleBlock(12, 24, 2, groups=3, first_groups=3).eval()
    keeping = ShuffleBlock(12, 12, 1, groups=3, first_groups=3).eval()
    with torch.no_grad():
        for block in (halving, keeping):
            for parameter in block.residual.parameters():
                parameter.zero_()
    maps = torch.ones(1, 12, 4, 4)
    halved = halving(maps)
    assert torch.equal(halved[:, :12], torch.zeros(1, 12, 2, 2))
    # Zeros beyond the border count in a mean of nine: 4, 6 and 9 of them are images.
    corner, edge, inside = 4 / 9, 6 / 9, 1.0
    expected = torch.tensor([[corner, edge], [edge, inside]]).expand(1, 12, 2, 2)
    torch.testing.assert_close(halved[:, 12:], expected)
    assert torch.equal(keeping(maps), maps)


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("widths", [48, 72]),
        ("widths", [24, 72, 96]),
        ("widths", [48, 71, 96]),
        ("widths", [96, 72, 48]),
        ("groups", 0),
        ("groups", 5),
        ("input_shape", (64,)),
    ],
)
def test_a_knob_out_of_range_is_named(knob, value):
    with pytest.raises(ValueError, match=f"^{knob}: must be .* got "):
        make(**{knob: value})
