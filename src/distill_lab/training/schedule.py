"""Learning-rate schedules as pure functions of the step."""

from __future__ import annotations

import math

from distill_lab.settings import Regime

ONE_CYCLE_START = 1 / 25  # of the peak rate; the defaults of torch.optim.lr_scheduler.OneCycleLR
ONE_CYCLE_END = ONE_CYCLE_START / 1e4


def lr_factor(regime: Regime, step: int, num_steps: int) -> float:
    """Return what the peak learning rate is multiplied by in a step.

    `constant`, `step` and `cosine` rise linearly over the warm-up, to the peak in its last step and
    never from 0, which would waste a step; `one_cycle` (Smith & Topin 2018, arXiv:1708.07120) rises
    along a cosine and falls along another; momentum is not cycled.

    Args:
        regime: its schedule, warm-up and milestones.
        step: steps taken before this one, in [0, num_steps].
        num_steps: of the whole training, >= 1.

    Returns:
        Factor in [0, 1].
    """
    progress, warmup = step / num_steps, regime.warmup_fraction
    rising = progress < warmup
    after = 0.0 if rising else (progress - warmup) / (1 - warmup)
    if regime.schedule == "one_cycle":
        if rising:
            return _cosine(ONE_CYCLE_START, 1.0, progress / warmup)
        return _cosine(1.0, ONE_CYCLE_END, after)
    if rising:
        return min(1.0, (step + 1) / (warmup * num_steps))
    if regime.schedule == "cosine":
        return _cosine(1.0, 0.0, after)
    if regime.schedule == "step":
        passed = sum(progress >= milestone for milestone in regime.milestone_fractions)
        return float(regime.decay_factor**passed)
    return 1.0


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2
