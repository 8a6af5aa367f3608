"""How values are chosen, and trainings given up: what of Optuna is set up anew for each trial."""

from __future__ import annotations

import random

import optuna
from optuna.trial import Trial

from distill_lab.config.space import Axis, Choices
from distill_lab.settings import Search


def suggest(trial: Trial, axis: Axis) -> None:
    """Have a value drawn; a range whose steps do not lead to `high` ends below it."""
    if isinstance(axis, Choices):
        trial.suggest_categorical(axis.key, axis.values)
        return
    high = axis.high if axis.step is None else axis.points[-1]
    if axis.whole:
        step = int(axis.step or 1)
        trial.suggest_int(axis.key, int(axis.low), int(high), step=step, log=axis.log)
    else:
        trial.suggest_float(axis.key, axis.low, high, step=axis.step, log=axis.log)


def sampler(search: Search, seed: int, place: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of one trial.

    Args:
        search: says which.
        seed: of the study.
        place: how many trials were begun before.
    """
    seed = _drawn(seed, place)
    if search.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=seed)
    if search.sampler == "cma_es":
        return optuna.samplers.CmaEsSampler(seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)  # the points of a grid are queued


def _drawn(seed: int, number: int) -> int:
    """Return a seed for one trial; neighbours have nothing in common."""
    return random.Random(f"{seed}/{number}").getrandbits(32)


def pruner(search: Search, num_epochs: int) -> optuna.pruners.BasePruner:
    """Return what compares trials epoch by epoch.

    Args:
        search: says which.
        num_epochs: of the longest trial.
    """
    first = search.prune_from_epoch
    if search.pruner == "median":
        return optuna.pruners.MedianPruner(search.prune_from_trial, n_warmup_steps=first)
    if search.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(first, max(first, num_epochs), reduction_factor=3)
    return optuna.pruners.NopPruner()
