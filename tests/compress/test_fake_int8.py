from __future__ import annotations

import torch

from distill_lab.compress.fake_int8 import FakeInt8Input, FakeInt8Weight


def test_each_row_is_rounded_to_127_steps_of_its_largest():
    weight = torch.tensor([[1.27, 0.514, -0.326], [-12.7, 0.04, 5.06]])
    expected = torch.tensor([[1.27, 0.51, -0.33], [-12.7, 0.0, 5.1]])
    torch.testing.assert_close(FakeInt8Weight()(weight), expected)


def test_a_row_of_zeros_stays_zero():
    assert torch.equal(FakeInt8Weight()(torch.zeros(2, 3)), torch.zeros(2, 3))


def test_gradients_pass_as_if_nothing_was_rounded():
    weight = torch.randn(3, 4, requires_grad=True)
    FakeInt8Weight()(weight).sum().backward()
    assert torch.equal(weight.grad, torch.ones(3, 4))


def test_rounding_again_changes_nothing():
    once = FakeInt8Weight()(torch.randn(8, 5))
    torch.testing.assert_close(FakeInt8Weight()(once), once, rtol=1e-6, atol=0)


def test_inputs_are_rounded_to_255_steps_of_the_range_they_had():
    layer = FakeInt8Input()
    inputs = torch.tensor([0.0, 0.514, 2.55])
    torch.testing.assert_close(layer(inputs), torch.tensor([0.0, 0.51, 2.55]))
    assert (float(layer.low), float(layer.high)) == (0.0, 2.5499999523162842)


def test_the_range_follows_in_train_mode_alone_and_clips():
    layer = FakeInt8Input()
    layer(torch.tensor([-1.0, 1.0]))
    layer.eval()
    assert float(layer(torch.tensor([5.0])).max()) < 1.01
    assert float(layer.high) == 1.0
    layer.train()(torch.tensor([5.0]))
    assert abs(float(layer.high) - (0.99 * 1 + 0.01 * 5)) < 1e-6


def test_nothing_is_rounded_before_the_first_batch():
    inputs = torch.randn(4)
    assert torch.equal(FakeInt8Input().eval()(inputs), inputs)
