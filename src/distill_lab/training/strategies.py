"""Lightning's trainer for one process or several."""

from __future__ import annotations

import logging

import pytorch_lightning as pl
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy, Strategy

from distill_lab.settings import Hardware
from distill_lab.training.group import ALONE, Group


def make_trainer(
    epochs: int, hardware: Hardware, callbacks: list[pl.Callback], group: Group = ALONE
) -> pl.Trainer:
    """Make a silent trainer without what Lightning would do at every step for its loggers."""
    for name in ("pytorch_lightning", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return pl.Trainer(
        plugins=[Place(group, hardware)],
        max_epochs=epochs,
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        num_nodes=hardware.num_nodes,
        strategy=_strategy(hardware),
        use_distributed_sampler=False,
        precision=hardware.precision,
        callbacks=callbacks,
        logger=False,
        log_every_n_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def _strategy(hardware: Hardware) -> str | Strategy:
    return "auto" if hardware.num_processes == 1 else Together()


class Together(DDPStrategy):
    """Lightning's DDP, but for when gradients are averaged: once a step, see `Stepper`.

    torch's wrapper averages them while the backward pass runs, and only those of `backward()`.
    """

    def configure_ddp(self) -> None:
        """Leave the module as it is."""


class Place(LightningEnvironment):
    """Where this process is among those of the training, which are connected already.

    In a job of SLURM Lightning would look for its own environment: take SIGUSR1, write
    hpc_ckpt_N.ckpt into the working directory, requeue, and load that file in every later fit. A
    training goes on by its checkpoint and in no other way.

    Args:
        group: of the training.
        hardware: says how many processes a machine has.
    """

    def __init__(self, group: Group, hardware: Hardware) -> None:
        super().__init__()
        self.group = group
        self.devices = hardware.devices

    @property
    def creates_processes_externally(self) -> bool:
        """Whether Lightning is to leave the start of processes to others."""
        return True

    def world_size(self) -> int:
        """Return the number of all processes."""
        return self.group.size

    def global_rank(self) -> int:
        """Return the number of this one."""
        return self.group.rank

    def local_rank(self) -> int:
        """Return its number on this machine."""
        return self.group.rank % self.devices

    def node_rank(self) -> int:
        """Return the number of this machine."""
        return self.group.rank // self.devices

    def set_world_size(self, size: int) -> None:
        """Leave it as it is."""

    def set_global_rank(self, rank: int) -> None:
        """Leave it as it is."""

    def teardown(self) -> None:
        """Leave the variables of the environment as they are."""
