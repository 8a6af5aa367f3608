"""Filling the caches of teachers ahead of training, in the very batches of training."""

from __future__ import annotations

from collections.abc import Sequence

from distill_lab.contracts import Batch, DataInfo, Splits
from distill_lab.data.module import DataModule
from distill_lab.settings import Hardware, Regime
from distill_lab.training.compiled import compiled
from distill_lab.training.device import autocast, device_of
from distill_lab.training.fit import data_module, memory_format
from distill_lab.training.group import Group
from distill_lab.training.teacher import Teacher
from distill_lab.training.trainee import laid_out, mix


def fill(
    teachers: Sequence[Teacher],
    info: DataInfo,
    splits: Splits,
    regime: Regime,
    hardware: Hardware,
    seed: int,
    epochs: int,
) -> None:
    """Ask the teachers about every view of a training that their caches lack.

    Args:
        teachers: each with a cache.
        info: of the dataset.
        splits: the training split is asked about.
        regime: of the training.
        hardware: of the training.
        seed: of the training.
        epochs: of it in which a teacher is asked.

    Raises:
        ValueError: a cache cannot hold a value.
        RunError: the networks cannot be compiled.
    """
    device, layout = device_of(hardware), memory_format(hardware)
    data = data_module(info, splits, regime, seed)
    for teacher in teachers:
        teacher.to(device, layout)
    group = Group(size=hardware.num_processes)  # each asks about its rows, and so do we
    changing = any(teacher.cache.changing for teacher in teachers if teacher.cache is not None)
    networks = [teacher.net for teacher in teachers] if hardware.compile else []
    with compiled(networks, device), autocast(hardware):
        for view in range(epochs if changing else min(epochs, 1)):
            lacking = [teacher for teacher in teachers if _lacks(teacher, view, data)]
            for batch in data.train_pass(view, device) if lacking else ():
                ready = laid_out(mix(batch, regime, info.num_classes, seed), layout)
                for rank in range(group.size):
                    rows = group.rows(len(ready.index), rank)
                    if rows.start == rows.stop:
                        continue  # of a last batch that a training leaves out
                    part = Batch(*(value[rows] for value in ready))
                    for teacher in lacking:
                        teacher.answer(part)
            for teacher in lacking:
                teacher.finish_pass()


def _lacks(teacher: Teacher, view: int, data: DataModule) -> bool:
    """Tell whether training will ask what is not kept; it may leave out a last lone sample."""
    cache = teacher.cache
    if cache is None or not cache.holds(view):
        return False
    loader = data.train_dataloader()
    left_out = max(0, len(loader.samples) - data.batch_size * len(loader))
    return cache.missing(view, loader.samples) > left_out
