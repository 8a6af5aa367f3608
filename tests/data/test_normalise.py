from __future__ import annotations

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
