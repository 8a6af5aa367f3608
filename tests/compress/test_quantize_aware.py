from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from distill_lab.compress.quantize_aware import QuantizeAware
from distill_lab.compress.zeros import hold_zeros, settle


def trained(net, images):
    """Train the rounding network for a few steps; what it says then, and what is left of it."""
    step = QuantizeAware(1)
    net = step.begin(net, images, 0)
    hold_zeros(net)
    optimizer = torch.optim.SGD(net.train().parameters(), lr=0.05)
    targets = torch.arange(len(images)) % 3
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(net(images), targets).backward()
        optimizer.step()
    with torch.no_grad():
        said = net.eval()(images)
    settle(net)
    return said, step.finish(net)


def steps_of(layer):
    """Weights in units of 1/127 of the largest of their row."""
    weight = layer.weight.detach().flatten(1)
    return weight / (weight.abs().amax(dim=1, keepdim=True) / 127)


@pytest.mark.parametrize("name", ["cnn", "mlp"])
def test_it_leaves_a_plain_network_whose_weights_int8_can_hold(name, images, request):
    net = request.getfixturevalue(name)
    _, plain = trained(net, images)
    assert plain.state_dict().keys() == net.state_dict().keys()
    assert not any(m._forward_pre_hooks for m in plain.modules())
    for layer in plain.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            steps = steps_of(layer)
            torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-3)
            assert isinstance(layer.weight, nn.Parameter)


def test_it_has_learnt_and_says_nearly_what_the_rounding_network_says(mlp, images):
    said, plain = trained(mlp, images)
    with torch.no_grad():
        apart = (said - plain(images)).abs().max()
        moved = (mlp(images) - plain(images)).abs().max()
    assert 0 < apart < 0.1 * plain(images).abs().max()
    assert moved > apart


def test_weights_that_were_pruned_stay_zero(mlp, images):
    with torch.no_grad():
        mlp.hidden[0][0].weight[:, ::2] = 0
    _, plain = trained(mlp, images)
    assert torch.equal(plain.hidden[0][0].weight[:, ::2], torch.zeros(16, 32))


def test_no_epochs_are_refused():
    with pytest.raises(ValueError, match=r"^epochs: must be >= 1, got 0"):
        QuantizeAware(0)
