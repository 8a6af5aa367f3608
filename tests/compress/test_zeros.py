from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize

from distill_lab.compress.zeros import hold_zeros, settle


def half_zero():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    with torch.no_grad():
        net[0].weight[:2] = 0
    return net


def stepped(net):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        net(torch.randn(8, 4)).square().sum().backward()
        optimizer.step()
    return net


def test_zeros_are_still_there_after_a_training_and_other_weights_have_moved():
    net = half_zero()
    before = net[0].weight[2:].clone()
    hold_zeros(net)
    stepped(net)
    settle(net)
    assert torch.equal(net[0].weight[:2], torch.zeros(2, 4))
    assert (net[0].weight[2:] != before).all()


def test_without_holding_them_they_are_gone():
    assert (stepped(half_zero())[0].weight[:2] != 0).all()


def test_a_layer_without_zeros_is_left_alone_and_plain_weights_are_left_at_the_end():
    net = half_zero()
    hold_zeros(net)
    assert not parametrize.is_parametrized(net[1])
    settle(net)
    assert list(net.state_dict()) == ["0.bias", "0.weight", "1.weight", "1.bias"]
    assert all(isinstance(layer.weight, nn.Parameter) for layer in net)
