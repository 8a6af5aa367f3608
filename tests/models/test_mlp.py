from __future__ import annotations

import pytest
import torch
from torch import nn

from distill_lab.models.mlp import MLP


def make(**knobs):
    defaults = {"widths": [4, 3], "dropout": 0.0, "input_dropout": 0.0, "max_norm": None}
    return MLP(input_shape=(1, 2, 3), num_classes=5, **(defaults | knobs))


def test_logits_have_one_column_per_class():
    assert make()(torch.zeros(7, 1, 2, 3)).shape == (7, 5)


def test_parameter_count_is_that_of_the_1200_unit_network_of_hinton_2015():
    with torch.device("meta"):
        net = MLP(
            input_shape=(1, 28, 28),
            num_classes=10,
            widths=[1200, 1200],
            dropout=0.5,
            input_dropout=0.2,
            max_norm=None,
        )
    by_hand = (784 * 1200 + 1200) + (1200 * 1200 + 1200) + (1200 * 10 + 10)
    assert sum(parameter.numel() for parameter in net.parameters()) == by_hand


def test_computes_relu_layers_and_linear_logits():
    net = MLP(
        input_shape=(2,),
        num_classes=1,
        widths=[2],
        dropout=0.5,
        input_dropout=0.5,
        max_norm=None,
    ).eval()
    values = ([[1.0, 2.0], [-1.0, 0.0]], [0.5, 0.0], [[3.0, 100.0]], [1.0])
    with torch.no_grad():
        for parameter, value in zip(net.parameters(), values, strict=True):
            parameter.copy_(torch.tensor(value))
    # Hidden: relu(1 + 4 + 0.5) = 5.5 and relu(-1) = 0; logit: 3 * 5.5 + 1.
    assert net(torch.tensor([[1.0, 2.0]])).item() == pytest.approx(17.5)


def test_taps_read_each_hidden_layer_after_its_activation_and_before_dropout():
    net = make(dropout=0.9)
    assert net.taps == ["hidden.0", "hidden.1"]
    seen = []
    for tap in net.taps:
        net.get_submodule(tap).register_forward_hook(lambda *call: seen.append(call[2]))
    inputs = torch.randn(50, 1, 2, 3, generator=torch.Generator().manual_seed(0))
    net(inputs)
    assert [tuple(features.shape) for features in seen] == [(50, 4), (50, 3)]
    linear = net.get_submodule("hidden.0.0")
    torch.testing.assert_close(seen[0], linear(inputs.flatten(1)).clamp(min=0))


@pytest.mark.parametrize("knob", ["dropout", "input_dropout"])
def test_dropout_acts_in_training_only(knob):
    torch.manual_seed(0)
    net = make(widths=[64], **{knob: 0.5})
    inputs = torch.ones(8, 1, 2, 3)
    assert not torch.equal(net(inputs), net(inputs))
    net.eval()
    assert torch.equal(net(inputs), net(inputs))


def test_constrain_shortens_long_rows_and_keeps_short_ones_biases_and_logits_layer():
    net = MLP(
        input_shape=(2,), num_classes=2, widths=[2], dropout=0.0, input_dropout=0.0, max_norm=2.5
    )
    rows = torch.tensor([[3.0, 4.0], [0.6, 0.8]])
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(rows if parameter.ndim == 2 else torch.tensor([10.0, 10.0]))
    net.constrain()
    weight, bias, logits_weight, _ = net.parameters()
    torch.testing.assert_close(weight.data, torch.tensor([[1.5, 2.0], [0.6, 0.8]]))
    assert torch.equal(bias.data, torch.tensor([10.0, 10.0]))
    assert torch.equal(logits_weight.data, rows)


def test_constrain_is_invisible_to_autograd_and_keeps_the_parameter_objects():
    net = make(max_norm=0.1)
    before = [id(parameter) for parameter in net.parameters()]
    net.constrain()
    assert [id(parameter) for parameter in net.parameters()] == before
    assert all(parameter.is_leaf and parameter.requires_grad for parameter in net.parameters())


def test_constrain_without_a_limit_changes_nothing():
    net = make(max_norm=None)
    nn.init.constant_(net.get_parameter("hidden.0.0.weight"), 100.0)
    net.constrain()
    assert net.get_parameter("hidden.0.0.weight").min().item() == 100.0


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("widths", []),
        ("widths", [4, 0]),
        ("dropout", 1.0),
        ("input_dropout", -0.1),
        ("max_norm", 0.0),
    ],
)
def test_a_knob_out_of_range_is_named(knob, value):
    with pytest.raises(ValueError, match=f"^{knob}: must be .* got "):
        make(**{knob: value})
