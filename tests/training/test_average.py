from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from distill_lab.training.average import MovingAverage


def batch_norm_net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))


def train(net: nn.Module, average) -> None:
    """Four updates, with weights and statistics that differ each time."""
    for _ in range(4):
        net(torch.randn(8, 4))
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn_like(parameter))
        average(net)


def test_the_numbers_are_those_of_torch():
    torch.manual_seed(1)
    net = batch_norm_net()
    ours = MovingAverage(net, decay=0.7)
    theirs = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.7), use_buffers=True)

    def update(net: nn.Module) -> None:
        ours.update(net)
        theirs.update_parameters(net)

    train(net, update)
    for name, value in ours.net.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(value, theirs.module.state_dict()[name])


def test_the_first_update_copies():
    net = batch_norm_net()
    average = MovingAverage(batch_norm_net(), decay=0.9)
    average.update(net)
    for name, value in average.net.state_dict().items():
        assert torch.equal(value, net.state_dict()[name])


def test_two_updates_by_hand():
    net = nn.Linear(1, 1, bias=False)
    average = MovingAverage(net, decay=0.75)
    for weight in (4.0, 8.0, 16.0):
        nn.init.constant_(net.weight, weight)
        average.update(net)
    # 4, then 0.75 * 4 + 0.25 * 8 = 5, then 0.75 * 5 + 0.25 * 16.
    assert float(average.net.weight.detach()) == pytest.approx(7.75)


def test_one_that_goes_on_from_a_state_does_not_begin_with_a_copy():
    net = nn.Linear(1, 1, bias=False)
    first, second = MovingAverage(net, decay=0.75), MovingAverage(net, decay=0.75)
    nn.init.constant_(net.weight, 4.0)
    first.update(net)
    second.load_state_dict(first.state_dict())
    nn.init.constant_(net.weight, 8.0)
    second.update(net)
    assert float(second.net.weight.detach()) == pytest.approx(5.0)  # 0.75 * 4 + 0.25 * 8


def test_integers_are_copied():
    net = batch_norm_net()
    average = MovingAverage(net, decay=0.9)
    train(net, average.update)
    assert int(average.net[1].num_batches_tracked) == 4


def test_the_average_is_not_trained_and_is_another_network():
    net = batch_norm_net()
    average = MovingAverage(net, decay=0.9)
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert all(parameter.requires_grad for parameter in net.parameters())
