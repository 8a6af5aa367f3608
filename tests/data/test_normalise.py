from __future__ import annotations

from dataclasses import replace

import torch

from distill_lab.contracts import DataInfo
from distill_lab.data.normalise import normalise

INFO = DataInfo("toy", (2, 1, 2), 2, ("a", "b"), mean=(0.5, 1.0), std=(0.5, 2.0))


def test_each_channel_has_its_own_mean_and_std():
    inputs = torch.tensor([[[[0.0, 1.0]], [[5.0, 1.0]]]])
    assert normalise(inputs, INFO).tolist() == [[[[-1.0, 1.0]], [[2.0, 0.0]]]]


def test_plain_features_are_channels():
    assert normalise(torch.tensor([[1.0, 1.0]]), INFO).tolist() == [[1.0, 0.0]]


def test_dtype_is_kept():
    assert normalise(torch.zeros(1, 2, 1, 2, dtype=torch.float64), INFO).dtype == torch.float64


def test_the_input_is_left_as_it_was():
    inputs = torch.ones(1, 2, 1, 2)
    normalise(inputs, INFO)
    assert torch.equal(inputs, torch.ones(1, 2, 1, 2))


def test_the_result_may_take_the_place_of_the_input():
    inputs = torch.tensor([[[[0.0, 1.0]], [[5.0, 1.0]]]])
    assert normalise(inputs, INFO, out=inputs) is inputs
    assert inputs.tolist() == [[[[-1.0, 1.0]], [[2.0, 0.0]]]]


def test_what_was_used_in_inference_first_is_good_for_training():
    info = replace(INFO, mean=(0.125, 0.25), std=(0.5, 4.0))
    with torch.inference_mode():
        normalise(torch.zeros(1, 2, 1, 2), info)
    inputs = torch.zeros(1, 2, 1, 2, requires_grad=True)
    normalise(inputs, info).sum().backward()
    assert inputs.grad.flatten().tolist() == [2.0, 2.0, 0.25, 0.25]
