from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from distill_lab.stages.context import Context
from distill_lab.training.supervised import Supervised


@pytest.fixture
def context(info, splits, hardware):
    parts = SimpleNamespace(seed=0, data=SimpleNamespace(info=info), hardware=hardware)
    logged = []
    run = SimpleNamespace(logged=logged, log_metrics=lambda row, epoch: logged.append((epoch, row)))
    return Context(parts, splits, "checksum", run, store=None)


def test_a_sample_of_a_sorted_split_holds_every_class(context):
    targets = torch.arange(3).repeat_interleave(100)
    chosen = context.sample(300, 60)
    assert len(chosen.unique()) == 60
    assert set(targets[chosen].tolist()) == {0, 1, 2}
    assert torch.equal(context.sample(300, 60), chosen)


def test_a_sample_is_no_larger_than_the_split(context):
    assert len(context.sample(5, 60)) == 5


def test_the_curve_of_a_training_is_logged_under_its_prefix(context, net_of, regime):
    fitted = context.fit(Supervised(net_of(), regime(), 3, seed=0), 0, "a test", "some/")
    assert context.run.logged == [
        (epoch, {f"some/{key}": value for key, value in row.items()})
        for epoch, row in enumerate(fitted.curve)
    ]


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_network_is_asked_in_the_layout_of_training_and_left_as_it_was(
    context, hardware, splits, info, channels_last
):
    context.parts.hardware = replace(hardware, channels_last=channels_last)
    seen = []

    class Looking(nn.Conv2d):
        def forward(self, inputs):
            seen.append(self.weight.is_contiguous(memory_format=torch.channels_last))
            return super().forward(inputs)

    net = nn.Sequential(nn.Conv2d(1, 4, 3), Looking(4, 5, 3), nn.Flatten(), nn.Linear(80, 3)).eval()
    expected = net((splits.test.inputs - info.mean[0]) / info.std[0]).detach()
    logits = context.predict(net, splits.test)
    assert seen == [False, channels_last]
    assert net[1].weight.is_contiguous()
    torch.testing.assert_close(logits, expected)
