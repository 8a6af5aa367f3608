"""What every training shares: optimiser, steps, averaging, mixing, validation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from distill_lab.contracts import Batch, LossValue
from distill_lab.measure.ranking import ranking
from distill_lab.settings import Regime
from distill_lab.training.average import MovingAverage
from distill_lab.training.dot import DOT
from distill_lab.training.group import ALONE
from distill_lab.training.mixing import mixed
from distill_lab.training.stepper import Stepper
from distill_lab.training.terms import EpochTerms

CHECK_EVERY = 50  # batches between two looks at the losses on a GPU, which waits for each look


class Trainee(pl.LightningModule, ABC):
    """A network under a regime; a subclass says what its loss on a batch is.

    It steps by itself: with Lightning's automatic optimisation the hooks around a step cost more
    than the step of a small network. Lightning still moves the data, runs the epochs and their
    validation, and chooses the precision.

    Attributes:
        net: the network that is trained, validated and kept.
        curve: one row per finished epoch, metric name -> value.
        memory_format: layout of inputs (B, C, H, W).
        had: of the validation split, where its items are to be ranked, see `Arrays`.
        between_steps: whether the newest batch ended in a step, so that no gradient is held.
        group: the processes that train it together.
    """

    def __init__(self, net: nn.Module, regime: Regime, num_classes: int, seed: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.net = net
        self.regime = regime
        self.num_classes = num_classes
        self.seed = seed
        self.curve: list[dict[str, float]] = []
        self.memory_format = torch.contiguous_format
        self.had: Tensor | None = None
        self.between_steps = False
        self.group = ALONE
        self._average = MovingAverage(net, regime.ema_decay) if regime.ema_decay else None
        self._batch = 0
        self._constrain = getattr(net, "constrain", None)
        self._steps: Stepper
        self._terms: EpochTerms
        self._validated: list[tuple[Tensor, Tensor]] = []

    @abstractmethod
    def objective_of(self, batch: Batch) -> LossValue:
        """Return the training loss of a batch: total and named terms.

        Args:
            batch: this process's rows of the inputs, and all of the rest; the loss is of all.
        """

    @property
    def progress(self) -> float:
        """Steps taken / all steps."""
        return self._steps.taken / self._steps.num_steps

    @property
    def epochs_done(self) -> float:
        """Epochs trained so far; a whole number between two epochs, without rounding."""
        return self._steps.taken * self.regime.epochs / self._steps.num_steps

    @property
    def networks(self) -> list[nn.Module]:
        """What runs in a step and can be compiled."""
        return [self.net]

    @property
    def kept(self) -> nn.Module:
        """The network whose weights count: the moving average where there is one."""
        return self._average.net if self._average is not None else self.net

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser over everything trainable: fused, which is faster, where it can be.

        DOT is not, nor is any of sharded weights, beside which there may be whole ones.
        """
        regime = self.regime
        parameters = [p for p in self.parameters() if p.requires_grad]
        decay = regime.weight_decay
        fused = not any(isinstance(parameter, DTensor) for parameter in parameters)
        how: dict[str, Any] = {"fused": True} if fused else {"foreach": False}
        if regime.optimizer == "sgd":
            return torch.optim.SGD(
                parameters, regime.lr, momentum=regime.momentum, weight_decay=decay, **how
            )
        if regime.optimizer == "dot":
            return DOT(parameters, regime.lr, regime.momentum, regime.dot_delta, decay)
        betas = (regime.momentum, 0.999)
        return torch.optim.AdamW(parameters, regime.lr, betas=betas, weight_decay=decay, **how)

    def on_train_start(self) -> None:
        """Count the steps ahead."""
        trainer, device = self.trainer, self.device.type
        scaler = torch.amp.GradScaler(device, enabled=trainer.precision == "16-mixed")
        batches = int(trainer.num_training_batches)
        self._steps = Stepper(trainer.optimizers[0], self.regime, batches, scaler, self.group)
        self._terms = EpochTerms(1 if device == "cpu" else CHECK_EVERY)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Take the batch's gradient, and a step if it is the last of its group.

        A batch without samples is one that was had before the training was stopped.
        """
        if len(batch.index) == 0:
            return
        self._batch = batch_idx
        self._draw(apart=True)
        value = self.objective_of(laid_out(self._mixed(batch), self.memory_format))
        self._terms.add(value)
        # Lightning's autocast is for the forward pass; gradients have the precision of that.
        with torch.autocast(self.device.type, enabled=False):
            self.between_steps = self._steps.backward(value, batch_idx)
        if self.between_steps:
            self._after_step()

    def _mixed(self, batch: Batch) -> Batch:
        """Mix the batch as a whole, and keep this process's rows."""
        if not self.regime.mixes:
            return batch
        count = len(batch.index)
        whole = batch._replace(inputs=self.group.gather(batch.inputs, count))
        mixed_batch = mix(whole, self.regime, self.num_classes, self.seed)
        return mixed_batch._replace(inputs=mixed_batch.inputs[self.group.rows(count)])

    def _draw(self, apart: bool) -> None:
        """Seed what several processes draw in this batch, see `Group.seed`."""
        self.group.seed(self.seed, self.current_epoch, self._batch, apart)

    def _after_step(self) -> None:
        """Project constrained weights, then move the average."""
        if self._constrain is not None:
            self._constrain()
        if self._average is not None:
            self._average.update(self.net)

    def progress_state(self) -> dict[str, Any]:
        """Return, between two steps, how far the training is: what no module's state holds."""
        return {
            "steps": self._steps.state_dict(),
            "terms": self._terms.state_dict(),
            "curve": self.curve,
        }

    def restore_progress(self, state: dict[str, Any]) -> None:
        """Go on from what `progress_state` returned."""
        self._steps.load_state_dict(state["steps"])
        self._terms.load_state_dict(state["terms"])
        self.curve = state["curve"]

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep logits and targets of the batch until the epoch's end."""
        logits = self.kept(laid_out(batch, self.memory_format).inputs).float()
        self._validated.append((logits, batch.targets))

    def on_validation_epoch_end(self) -> None:
        """Append the epoch's row to the curve; its learning rate is the last step's."""
        means = self._terms.finish_epoch()
        logits, targets = self._all_validated()
        row = {f"train/loss/{name}": mean for name, mean in means.items()}
        row["train/lr"] = self._steps.lr
        row["val/accuracy"] = float((logits.argmax(dim=1) == targets).float().mean())
        row["val/nll"] = float(F.cross_entropy(logits, targets))
        if self.had is not None:
            found = ranking(logits.cpu(), targets.cpu(), self.had)
            row |= {"val/ndcg10": found.ndcg10, "val/hr10": found.hr10}
        self.curve.append(self.group.agree_on(row))

    def _all_validated(self) -> tuple[Tensor, Tensor]:
        """Return logits and targets of the whole split, and forget them."""
        logits, targets = (torch.cat(parts) for parts in zip(*self._validated, strict=True))
        self._validated.clear()
        (count,) = self.group.total([len(targets)])
        return self.group.gather(logits, count), self.group.gather(targets, count)


def mix(batch: Batch, regime: Regime, num_classes: int, seed: int) -> Batch:
    """Mix a training batch as the regime says."""
    return mixed(batch, regime.mixup_alpha, regime.cutmix_alpha, num_classes, seed)


def laid_out(batch: Batch, memory_format: torch.memory_format) -> Batch:
    """Give images (B, C, H, W) a layout in memory; other inputs have but one."""
    if batch.inputs.ndim != 4:
        return batch
    return batch._replace(inputs=batch.inputs.contiguous(memory_format=memory_format))
