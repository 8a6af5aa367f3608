from __future__ import annotations

import math

import pytest
import torch

from distill_lab.losses.base import Loss, Needs


class Constant(Loss):
    def forward(self, batch):
        return torch.tensor(1.0)


def test_weight_is_stored():
    assert Constant(weight=0.0).weight == 0.0


@pytest.mark.parametrize("weight", [-1e-9, -0.5, math.nan])
def test_weight_below_zero_is_refused(weight):
    with pytest.raises(ValueError, match=f"weight: must be >= 0, got {weight}"):
        Constant(weight=weight)


def test_a_loss_without_forward_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        Loss(weight=1.0)


def test_unless_overridden_a_loss_reads_no_taps_and_builds_nothing():
    loss = Constant(weight=1.0)
    loss.connect({}, ({},), 10)
    assert loss.needs == Needs((), ())
    assert not loss.state_dict()
