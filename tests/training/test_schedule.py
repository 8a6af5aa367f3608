from __future__ import annotations

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR, OneCycleLR

from distill_lab.training.schedule import lr_factor

NUM_STEPS = 240


def rates_of_torch(scheduler, **arguments) -> list[float]:
    """The rates that an optimizer of peak rate 1 has at steps 0 .. NUM_STEPS."""
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = scheduler(optimizer, **arguments)
    rates = []
    for step in range(NUM_STEPS + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < NUM_STEPS:
            schedule.step()
    return rates


def ours(regime) -> list[float]:
    return [lr_factor(regime, step, NUM_STEPS) for step in range(NUM_STEPS + 1)]


@pytest.mark.parametrize("warmup", [0.1, 0.3, 0.5])
def test_one_cycle_is_that_of_torch(regime, warmup):
    # torch counts up to its last step, we to the end of training: hence one step more, and the
    # share that puts the peak of both on the same step.
    expected = rates_of_torch(
        OneCycleLR,
        max_lr=1.0,
        total_steps=NUM_STEPS + 1,
        pct_start=(warmup * NUM_STEPS + 1) / (NUM_STEPS + 1),
        cycle_momentum=False,
    )
    one_cycle = ours(regime(schedule="one_cycle", warmup_fraction=warmup))
    assert one_cycle == pytest.approx(expected, abs=1e-9)


def test_cosine_is_that_of_torch(regime):
    expected = rates_of_torch(CosineAnnealingLR, T_max=NUM_STEPS)
    assert ours(regime(schedule="cosine")) == pytest.approx(expected, abs=1e-9)


def test_step_is_that_of_torch(regime):
    # Epochs 150, 180 and 210 of 240: the published schedule.
    fractions = [0.625, 0.75, 0.875]
    expected = rates_of_torch(MultiStepLR, milestones=[150, 180, 210], gamma=0.1)
    step = ours(regime(schedule="step", milestone_fractions=fractions, decay_factor=0.1))
    assert step == pytest.approx(expected)


@pytest.mark.parametrize("step", [0, 4, 10])
def test_constant_stays_at_the_peak(regime, step):
    assert lr_factor(regime(schedule="constant"), step, 10) == 1.0


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine"])
def test_warmup_rises_in_a_straight_line_to_the_peak(regime, schedule):
    warming = regime(schedule=schedule, warmup_fraction=0.2)
    # Of 20 steps four warm up; the first one is a step already.
    rates = [lr_factor(warming, step, 20) for step in range(5)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


def test_a_warmup_shorter_than_a_step_stays_at_the_peak(regime):
    assert lr_factor(regime(warmup_fraction=0.05), 0, 10) == 1.0


@pytest.mark.parametrize(
    ("step", "expected"),
    # Half of what is left after the warm-up is at 9; a third, where the cosine is 1/2, at 7.
    [(3, 1.0), (7, 0.75), (9, 0.5), (15, 0.0)],
)
def test_cosine_after_a_warmup_by_hand(regime, step, expected):
    factor = lr_factor(regime(schedule="cosine", warmup_fraction=0.2), step, 15)
    assert factor == pytest.approx(expected)


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.04), (15, 0.52), (30, 1.0), (65, 0.500002), (100, 4e-6)]
)
def test_one_cycle_by_hand(regime, step, expected):
    # From 1/25 to 1 and on to 1/25/10^4; half way along a cosine is the mean of its ends.
    factor = lr_factor(regime(schedule="one_cycle", warmup_fraction=0.3), step, 100)
    assert factor == pytest.approx(expected)


def test_one_cycle_without_warmup_starts_at_the_peak(regime):
    assert lr_factor(regime(schedule="one_cycle", warmup_fraction=0.0), 0, 10) == 1.0


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine", "one_cycle"])
def test_factors_lie_between_zero_and_one(regime, schedule):
    assert all(0 <= factor <= 1 for factor in ours(regime(schedule=schedule, warmup_fraction=0.1)))
