"""What is sent to the further processes of a training."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from distill_lab.errors import RunError
from distill_lab.training.sending import packed, unpacked


class Twice(nn.Module):
    def forward(self, weight):
        return 2 * weight


def sent(job):
    return unpacked(packed(job))


def test_a_layer_whose_weight_is_computed_arrives_as_one():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    net[0].weight.data.fill_(1.0)
    parametrize.register_parametrization(net[0], "weight", Twice())
    (arrived,) = sent((net,))
    assert parametrize.is_parametrized(arrived[0], "weight")
    assert arrived[0].weight.tolist() == [[2.0, 2.0]] * 3
    inputs = torch.randn(4, 2)
    assert torch.equal(arrived(inputs), net(inputs))
    arrived(inputs).sum().backward()
    assert arrived[0].parametrizations["weight"].original.grad is not None


def test_weights_that_two_layers_share_arrive_as_shared():
    first = nn.Linear(2, 2)
    second = nn.Linear(2, 2)
    second.weight = first.weight
    arrived = sent({"nets": [first, second]})["nets"]
    assert arrived[0].weight is arrived[1].weight


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_a_layout_of_memory_is_no_name_in_whichever_module_has_torch(monkeypatch, layout):
    first = ModuleType("imported_first")
    first.torch = torch
    monkeypatch.setattr(sys, "modules", {"imported_first": first, **sys.modules})
    job = packed([layout])
    assert b"imported_first" not in job
    assert unpacked(job) == [layout]


def test_what_cannot_be_sent_is_refused_with_what_to_do():
    with pytest.raises(RunError, match=r"^hardware\.devices: .*lambda.*hardware=cpu or gpu"):
        packed(lambda: None)
