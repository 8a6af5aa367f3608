"""One training from start to kept weights."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import pytorch_lightning as pl
import torch
from torch import nn

from distill_lab.contracts import DataInfo, Splits
from distill_lab.data.module import DataModule
from distill_lab.settings import Hardware, Regime
from distill_lab.training.callbacks import Bar, KeepWeights, SendCurve
from distill_lab.training.trainee import Trainee


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


def fit(
    trainee: Trainee,
    info: DataInfo,
    splits: Splits,
    regime: Regime,
    hardware: Hardware,
    seed: int,
    title: str,
    log: Callable[[dict[str, float], int], None],
) -> Fitted:
    """Train under the regime, validating once per epoch.

    Args:
        trainee: the network and its loss.
        info: of the dataset.
        splits: train and validation are used, test is not touched.
        regime: how to train.
        hardware: where to train.
        seed: of batch order, augmentation and dropout.
        title: shown before the progress bar.
        log: called once per epoch with the curve's row and the epoch.

    Raises:
        RunError: the loss is not finite.
        KeyboardInterrupt: the user stopped it.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.manual_seed(seed)
    keep = KeepWeights(regime.keep == "best", regime.early_stop_epochs)
    data = DataModule(
        info, splits, regime.batch_size, seed, regime.shift_pixels, regime.horizontal_flip
    )
    trainer = pl.Trainer(
        max_epochs=regime.epochs,
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        precision=hardware.precision,
        gradient_clip_val=regime.clip_norm,
        callbacks=[keep, SendCurve(log), Bar(title)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    start = perf_counter()
    _train(trainer, trainee, data)
    net = trainee.net.cpu()
    net.load_state_dict(keep.state)
    return Fitted(net.eval(), trainee.curve, keep.epoch + 1, perf_counter() - start)


def _train(trainer: pl.Trainer, trainee: Trainee, data: DataModule) -> None:
    """Fit; Lightning turns Ctrl-C into an exit of its own, which is turned back here."""
    try:
        trainer.fit(trainee, datamodule=data)
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from stop
        raise
