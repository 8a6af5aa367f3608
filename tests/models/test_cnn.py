from __future__ import annotations

import pytest
import torch
from torch import nn

from distill_lab.models.cnn import CNN


def make(input_shape=(1, 8, 8), **knobs):
    defaults = {"channels": [4, 6], "convs_per_block": 1, "kernel_size": 3, "dropout": 0.0}
    return CNN(input_shape=input_shape, num_classes=10, **(defaults | knobs))


def features_of(net, inputs):
    seen = {}
    for tap in net.taps:
        net.get_submodule(tap).register_forward_hook(
            lambda module, args, output, tap=tap: seen.update({tap: output})
        )
    net(inputs)
    return seen


@pytest.mark.parametrize("input_shape", [(1, 8, 8), (3, 9, 7), (2, 32, 20)])
def test_logits_have_one_column_per_class_for_any_image(input_shape):
    assert make(input_shape)(torch.zeros(2, *input_shape)).shape == (2, 10)


def test_parameters_are_those_counted_by_hand():
    block_1 = 1 * 4 * 9 + 2 * 4 + 4 * 4 * 9 + 2 * 4
    block_2 = 4 * 6 * 9 + 2 * 6 + 6 * 6 * 9 + 2 * 6
    logits = 6 * 10 + 10
    net = make(convs_per_block=2)
    count = sum(parameter.numel() for parameter in net.parameters())
    assert count == block_1 + block_2 + logits


def test_map_is_halved_between_blocks_only():
    seen = features_of(make(channels=[4, 6, 8], kernel_size=5), torch.zeros(2, 1, 8, 8))
    assert {tap: tuple(features.shape) for tap, features in seen.items()} == {
        "blocks.0": (2, 4, 8, 8),
        "blocks.1": (2, 6, 4, 4),
        "blocks.2": (2, 8, 2, 2),
        "pool": (2, 8),
    }


def test_taps_read_after_the_activation():
    inputs = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    seen = features_of(make(), inputs)
    for features in seen.values():
        assert features.min() >= 0
        assert features.max() > 0


def test_logits_are_linear_in_the_mean_over_the_map():
    net = make().eval()
    seen = features_of(net, torch.ones(1, 1, 8, 8))
    torch.testing.assert_close(seen["pool"], seen["blocks.1"].mean(dim=(2, 3)))
    torch.testing.assert_close(net(torch.ones(1, 1, 8, 8)), net.classifier(seen["pool"]))


def test_dropout_acts_on_pooled_features_in_training_only():
    torch.manual_seed(0)
    net = make(channels=[32], dropout=0.5)
    nn.init.ones_(net.classifier.weight)
    inputs = torch.randn(1, 1, 8, 8)
    assert not torch.equal(net(inputs), net(inputs))
    net.eval()
    assert torch.equal(net(inputs), net(inputs))


def test_as_many_blocks_as_the_map_can_be_halved_for():
    # 8 -> 4 -> 2 -> 1: three halvings, four blocks.
    assert make(channels=[2, 2, 2, 2]).eval()(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
    with pytest.raises(ValueError, match=r"^channels: must list at most 4 blocks .*8 x 12.* got 5"):
        make((1, 8, 12), channels=[2, 2, 2, 2, 2])


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("channels", []),
        ("channels", [0]),
        ("convs_per_block", 0),
        ("kernel_size", 2),
        ("kernel_size", -1),
        ("dropout", 1.0),
        ("input_shape", (64,)),
    ],
)
def test_a_knob_out_of_range_is_named(knob, value):
    with pytest.raises(ValueError, match=f"^{knob}: must be .* got "):
        make(**{knob: value})
