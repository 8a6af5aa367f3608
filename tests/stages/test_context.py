from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from distill_lab.contracts import Component
from distill_lab.stages.context import Context
from distill_lab.stages.handoffs import Weights
from distill_lab.training.supervised import Supervised


@pytest.fixture
def context(info, splits, hardware):
    data = SimpleNamespace(info=info)
    parts = SimpleNamespace(seed=0, data=data, hardware=hardware, reuse="off")
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


def test_a_later_job_does_not_ask_the_same_weights_about_the_test_split_again(
    context, net_of, splits, monkeypatch
):
    asked = []
    predict = Context.predict
    monkeypatch.setattr(
        Context,
        "predict",
        lambda self, net, arrays: asked.append(net) or predict(self, net, arrays),
    )
    architecture = Component("a.Net", {"width": 8})
    teacher, other = (
        SimpleNamespace(architecture=architecture, weights=Weights("run", "path", f"hash {n}"))
        for n in range(2)
    )
    net = net_of()
    first = context.predict_test(teacher, net)
    assert torch.equal(first, predict(context, net, splits.test))
    assert context.predict_test(teacher, net) is first
    assert asked == [net]
    context.predict_test(other, net)
    replace(context, data_checksum="of other data").predict_test(teacher, net)
    assert asked == [net] * 3
    assert context.predict_test(teacher, net) is first


def test_what_was_asked_long_ago_is_forgotten(context, net_of, monkeypatch):
    monkeypatch.setattr("distill_lab.stages.context._remembered", {})
    size = 3 * 4 * len(context.splits.test.targets)  # of logits of three classes
    monkeypatch.setattr("distill_lab.stages.context.REMEMBERED_BYTES", 2 * size)
    architecture = Component("a.Net", {})
    first, second, third = (
        SimpleNamespace(architecture=architecture, weights=Weights("run", "path", f"hash {n}"))
        for n in range(3)
    )
    net = net_of()
    kept = context.predict_test(first, net)
    second_said = context.predict_test(second, net)
    assert context.predict_test(first, net) is kept  # now the second is the longest unused
    context.predict_test(third, net)
    assert context.predict_test(first, net) is kept
    assert context.predict_test(second, net) is not second_said
