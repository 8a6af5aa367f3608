"""One training from start to kept weights."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from distill_lab.contracts import DataInfo, Splits
from distill_lab.data.augment import Augmentation
from distill_lab.data.label_noise import with_label_noise
from distill_lab.data.module import DataModule
from distill_lab.data.subset import subset
from distill_lab.data.word_augment import WordAugmentation
from distill_lab.errors import Diverged, Pruned, RunError
from distill_lab.settings import Hardware, Regime
from distill_lab.stopping import Stopping
from distill_lab.training.callbacks import Bar, KeepWeights, Prune, SendCurve, Watch
from distill_lab.training.checkpoint import Checkpoint
from distill_lab.training.compiled import compiled
from distill_lab.training.group import Group
from distill_lab.training.memory import keep_freed_memory
from distill_lab.training.processes import several
from distill_lab.training.saving import SaveProgress
from distill_lab.training.strategies import make_trainer
from distill_lab.training.synced_norm import synced_batch_norms
from distill_lab.training.trainee import Trainee

FINISHED = "finished"
"""Key of a checkpoint that was written when its training had come to its end."""


@dataclass(frozen=True)
class Fitted:
    """What a training leaves.

    Attributes:
        net: the network with its kept weights, on the CPU, in eval mode.
        curve: one row per epoch, metric name -> value.
        kept_epoch: the epoch of the kept weights, counted from 1.
        seconds: wall time.
    """

    net: nn.Module
    curve: list[dict[str, float]]
    kept_epoch: int
    seconds: float


@dataclass(frozen=True)
class Job:
    """What each process of a training has to know.

    Attributes:
        trainee: the network and its loss.
        info: of the dataset.
        splits: train and validation are used, test is not touched.
        regime: how to train.
        hardware: where to train.
        seed: of batch order, augmentation and dropout.
        saved: what a checkpoint has to go on with; None: the training begins.
    """

    trainee: Trainee
    info: DataInfo
    splits: Splits
    regime: Regime
    hardware: Hardware
    seed: int
    saved: dict[str, Any] | None


def fit(
    trainee: Trainee,
    info: DataInfo,
    splits: Splits,
    regime: Regime,
    hardware: Hardware,
    seed: int,
    title: str,
    log: Callable[[dict[str, float], int], None],
    checkpoint: Checkpoint | None = None,
    watch: Watch | None = None,
) -> Fitted:
    """Train under the regime, validating once per epoch.

    With a checkpoint it is saved every so often, and goes on from where an earlier call with the
    same arguments was stopped: with the numbers, bit by bit, that it would have had. Further
    processes, if there are any, train along; all else is done by this one.

    Args:
        trainee: the network and its loss.
        info: of the dataset.
        splits: train and validation are used, test is not touched.
        regime: how to train.
        hardware: where to train.
        seed: of batch order, augmentation and dropout.
        title: shown before the progress bar.
        log: called once per epoch with the curve's row and the epoch.
        checkpoint: of this training alone; None: it is not saved.
        watch: asked after each epoch whether to go on; None: to the end.

    Raises:
        Pruned: the watch ended it.
        Diverged: the loss is not finite.
        RunError: the hardware cannot do what it is asked for, or a further process failed.
        KeyboardInterrupt: the user stopped it.
    """
    _require_gpu_for_fp16(hardware)
    _refuse_dot_in_fp16(regime, hardware)
    _require_equal_shares(regime, hardware)
    keep_freed_memory()
    saved = None if checkpoint is None else checkpoint.read()
    if saved is not None and FINISHED in saved:
        return _finished(trainee.net, log, saved[FINISHED])
    keep = KeepWeights(regime.keep == "best", regime.early_stop_epochs, info.quality)
    callbacks = [keep, SendCurve(log), Bar(title, info.quality)]
    if watch is not None:
        callbacks.append(Prune(watch, info.quality))
    whole = deepcopy(trainee.net) if hardware.strategy == "fsdp" else None  # the other is sharded
    start = perf_counter() - (0.0 if saved is None else saved["seconds"])
    needed = splits._replace(test=splits.validation)  # which nobody reads
    job = Job(trainee, info, needed, regime, hardware, seed, saved)
    with Stopping() if checkpoint is not None else nullcontext() as stopping:
        if checkpoint is not None and stopping is not None:
            callbacks.append(SaveProgress(checkpoint, keep, stopping, log, saved, start))
        try:
            with several(hardware, job, _train_along) as group:
                _train(job, group, callbacks)
        except (Diverged, Pruned):
            if checkpoint is not None:
                checkpoint.remove()  # neither is gone on with; after any other error it may be
            raise
    if whole is None:
        _lay_out(trainee, torch.contiguous_format)
    net = trainee.net.cpu() if whole is None else whole
    net.load_state_dict(keep.state)
    fitted = Fitted(net.eval(), trainee.curve, keep.epoch + 1, perf_counter() - start)
    if checkpoint is not None and fitted.seconds >= checkpoint.every_seconds:
        checkpoint.write({FINISHED: {**vars(fitted), "net": net.state_dict()}})
    return fitted


def _train_along(job: Job, group: Group) -> None:
    """Do the part of a further process, which decides as the first one does and says nothing."""
    best, patience = job.regime.keep == "best", job.regime.early_stop_epochs
    keep = KeepWeights(best, patience, job.info.quality)
    never = Checkpoint(Path(), math.inf)
    restore = SaveProgress(never, keep, Stopping(), lambda row, epoch: None, job.saved, 0.0)
    _train(job, group, [keep, restore])


def _train(job: Job, group: Group, callbacks: list[pl.Callback]) -> None:
    """Do one process's part of a training."""
    trainee, hardware, saved = job.trainee, job.hardware, job.saved
    torch.manual_seed(job.seed)
    trainee.had = job.splits.validation.had
    trainee.group = group
    had = (0, 0) if saved is None else saved["position"]
    share = (group.rank, group.size)
    data = data_module(job.info, job.splits, job.regime, job.seed, had, share)
    trainer = make_trainer(job.regime.epochs, hardware, callbacks, group)
    _lay_out(trainee, _layout(trainee, hardware))
    networks = trainee.networks if hardware.compile else []
    device = trainer.strategy.root_device
    with compiled(networks, device), synced_batch_norms(trainee.net, group):
        _run(trainer, trainee, data)


def _finished(
    net: nn.Module, log: Callable[[dict[str, float], int], None], fitted: dict[str, Any]
) -> Fitted:
    """Return what a training left that had come to its end before its stage was stopped."""
    for epoch, row in enumerate(fitted["curve"]):
        log(row, epoch)
    net.load_state_dict(fitted["net"])
    return Fitted(**{**fitted, "net": net.eval()})


def data_module(
    info: DataInfo,
    splits: Splits,
    regime: Regime,
    seed: int,
    had: tuple[int, int] = (0, 0),
    share: tuple[int, int] = (0, 1),
) -> DataModule:
    """Make the batches of a training under the regime; here its labels become noisy, if any do.

    Args:
        info: of the dataset.
        splits: un-normalised.
        regime: how to train.
        seed: of order and augmentation.
        had: epoch in which a stopped training was, and how many of its batches it had.
        share: number of this process, and of how many that share the batches.

    Raises:
        ValueError: the training split has too few samples for it, or too few classes.
    """
    labels = splits.train.targets
    noisy = with_label_noise(
        labels, regime.label_noise, info.num_classes, seed, regime.leave_out_classes
    )
    return DataModule(
        info,
        splits._replace(train=splits.train._replace(targets=noisy)),
        regime.batch_size,
        augmentation_of(info, regime, seed),
        samples=subset(labels, regime.leave_out_classes, regime.num_samples, seed),
        had=had,
        share=share,
    )


def augmentation_of(info: DataInfo, regime: Regime, seed: int) -> Augmentation | WordAugmentation:
    """Return what is done to training inputs at random."""
    if info.vocabulary_size is not None:
        return WordAugmentation(seed, regime.mask_words, regime.ngram_rows)
    return Augmentation(seed, regime.shift_pixels, regime.horizontal_flip, regime.cutout_pixels)


def memory_format(hardware: Hardware) -> torch.memory_format:
    """Return the layout of images and of the weights of convolutions."""
    return torch.channels_last if hardware.channels_last else torch.contiguous_format


def _layout(trainee: Trainee, hardware: Hardware) -> torch.memory_format:
    """Return the layout to train in: not channels last where oneDNN would write past its memory.

    The gradient of the weights of a strided 1x1 convolution does that on a CPU, below 8 channels
    with AVX2 and below 16 with AVX-512: uxlfoundation/oneDNN, issue 6035.
    """
    overruns = any(
        isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1) != m.stride and m.in_channels < 16
        for m in trainee.modules()
    )
    return torch.contiguous_format if overruns else memory_format(hardware)


def _require_gpu_for_fp16(hardware: Hardware) -> None:
    on_cpu = hardware.accelerator == "cpu" or not torch.accelerator.is_available()
    if hardware.precision == "16-mixed" and on_cpu:
        raise RunError(
            "hardware.precision: 16-mixed needs a GPU, and this training is on the CPU. "
            "Set hardware.precision=bf16-mixed or 32-true."
        )


def _refuse_dot_in_fp16(regime: Regime, hardware: Hardware) -> None:
    if regime.optimizer == "dot" and hardware.precision == "16-mixed":
        raise RunError(
            "regime.optimizer: dot has two gradients, and 16-mixed scales one. "
            "Set hardware.precision=bf16-mixed or 32-true."
        )


def _require_equal_shares(regime: Regime, hardware: Hardware) -> None:
    if regime.batch_size % hardware.num_processes:
        raise RunError(
            f"regime.batch_size: must be a multiple of the {hardware.num_processes} processes, "
            f"hardware.devices times hardware.num_nodes, got {regime.batch_size}."
        )


def _lay_out(trainee: Trainee, memory_format: torch.memory_format) -> None:
    """Give images and the weights of convolutions a layout in memory; their values stay."""
    trainee.memory_format = memory_format
    trainee.to(memory_format=memory_format)


def _run(trainer: pl.Trainer, trainee: Trainee, data: DataModule) -> None:
    """Fit; Lightning turns Ctrl-C into an exit of its own, then is deaf to it: both are undone."""
    hears = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(trainee, datamodule=data)
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            signal.signal(signal.SIGINT, hears)
            raise KeyboardInterrupt from stop
        raise
