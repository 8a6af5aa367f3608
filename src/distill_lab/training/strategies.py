"""Lightning's trainer for one process or several."""

from __future__ import annotations

import logging

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy, Strategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from distill_lab.settings import Hardware
from distill_lab.training.group import ALONE, Group
from distill_lab.training.trainee import Trainee


def make_trainer(
    epochs: int, hardware: Hardware, callbacks: list[pl.Callback], group: Group = ALONE
) -> pl.Trainer:
    """Make a silent trainer without what Lightning would do at every step for its loggers."""
    for name in ("pytorch_lightning", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    trainer = pl.Trainer(
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
    # Its handler of SIGTERM sends a tensor to the other processes from wherever this one is: where
    # all get the signal they wait for each other for ever. Signals are the business of `Stopping`.
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    return trainer


def _strategy(hardware: Hardware) -> str | Strategy:
    if hardware.strategy == "single_device":
        return "auto"
    return Sharded() if hardware.strategy == "fsdp" else Together()


def problem_of_strategy(hardware: Hardware) -> str | None:
    """Make strategy and trainer as a training would, as far as the devices are there.

    Returns:
        A sentence that names the key; None where they can be made.
    """
    if hardware.strategy == "single_device":
        return None
    try:
        _strategy(hardware)
        if hardware.accelerator == "cpu" or torch.cuda.device_count() >= hardware.devices:
            make_trainer(1, hardware, [], Group(size=hardware.num_processes))
    except (MisconfigurationException, ValueError) as error:
        return f"hardware.strategy: {' '.join(str(error).split())}"
    return None


class Together(DDPStrategy):
    """Lightning's DDP, but for when gradients are averaged: once a step, see `Stepper`.

    torch's wrapper averages them while the backward pass runs, and only those of `backward()`.
    """

    def configure_ddp(self) -> None:
        """Leave the module as it is."""


class Sharded(Together):
    """Each process keeps its part of the weights of `Trainee.net`, and of the optimizer's state.

    They are put together for a step and taken apart after it, by torch's `fully_shard`, which
    averages their gradients too. What a loss term trains is whole in every process.
    """

    def configure_ddp(self) -> None:
        """Shard the network as one: layers may read each other's weights."""
        module = self.lightning_module
        assert isinstance(module, Trainee)
        mesh = init_device_mesh(self.root_device.type, (self.world_size,))
        fully_shard(module.net, mesh=mesh)


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
