"""What every training shares: optimiser, schedule, averaging, validation, finite check."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from distill_lab.contracts import Batch, LossValue
from distill_lab.errors import RunError
from distill_lab.settings import Regime
from distill_lab.training.mixup import mixup
from distill_lab.training.schedule import lr_factor


class Trainee(pl.LightningModule, ABC):
    """A network under a regime; a subclass says what its loss on a batch is.

    Attributes:
        net: the network that is trained, validated and kept.
        curve: one row per finished epoch, metric name -> value.
    """

    def __init__(self, net: nn.Module, regime: Regime, num_classes: int, seed: int) -> None:
        super().__init__()
        self.net = net
        self.regime = regime
        self.num_classes = num_classes
        self.curve: list[dict[str, float]] = []
        self._average = _averaged(net, regime.ema_decay)
        self._mixing = torch.Generator().manual_seed(seed)
        self._sums: dict[str, Tensor] = {}
        self._num_batches = 0
        self._used_lr = 0.0
        self._validated: list[tuple[Tensor, Tensor]] = []

    @abstractmethod
    def objective_of(self, batch: Batch) -> LossValue:
        """Return the training loss of a batch: total and named terms."""

    @property
    def progress(self) -> float:
        """Steps taken / all steps."""
        return self.trainer.global_step / max(1, int(self.trainer.estimated_stepping_batches))

    @property
    def kept(self) -> nn.Module:
        """The network whose weights count: the moving average where there is one."""
        return self._average.module if self._average is not None else self.net

    def configure_optimizers(self) -> Any:
        """Return the optimiser over everything trainable and its per-step schedule."""
        regime = self.regime
        parameters = [p for p in self.parameters() if p.requires_grad]
        optimizer: torch.optim.Optimizer
        if regime.optimizer == "sgd":
            optimizer = torch.optim.SGD(
                parameters, regime.lr, momentum=regime.momentum, weight_decay=regime.weight_decay
            )
        else:
            betas = (regime.momentum, 0.999)
            optimizer = torch.optim.AdamW(
                parameters, regime.lr, betas=betas, weight_decay=regime.weight_decay
            )
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: lr_factor(regime, step, steps)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the total; stop before the step if it is not finite."""
        if self.regime.mixup_alpha > 0:
            batch = mixup(batch, self.regime.mixup_alpha, self.num_classes, self._mixing)
        value = self.objective_of(batch)
        if not bool(torch.isfinite(value.total)):
            raise RunError(_not_finite(self.current_epoch, batch_idx, value))
        for name, term in {**value.terms, "total": value.total}.items():
            self._sums[name] = self._sums.get(name, 0.0) + term.detach()
        self._num_batches += 1
        self._used_lr = float(self.trainer.optimizers[0].param_groups[0]["lr"])
        return value.total

    def on_train_batch_end(self, *args: Any) -> None:
        """Project constrained weights, then move the average."""
        constrain = getattr(self.net, "constrain", None)
        if callable(constrain):
            constrain()
        if self._average is not None:
            self._average.update_parameters(self.net)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep logits and targets of the batch until the epoch's end."""
        self._validated.append((self.kept(batch.inputs).float(), batch.targets))

    def on_validation_epoch_end(self) -> None:
        """Append the epoch's row to the curve; its learning rate is the last step's."""
        logits, targets = (torch.cat(parts) for parts in zip(*self._validated, strict=True))
        self._validated.clear()
        row = {f"train/loss/{name}": float(s) / self._num_batches for name, s in self._sums.items()}
        row["train/lr"] = self._used_lr
        row["val/accuracy"] = float((logits.argmax(dim=1) == targets).float().mean())
        row["val/nll"] = float(F.cross_entropy(logits, targets))
        self._sums, self._num_batches = {}, 0
        self.curve.append(row)


def _averaged(net: nn.Module, decay: float | None) -> AveragedModel | None:
    if decay is None:
        return None
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    return average.requires_grad_(False)


def _not_finite(epoch: int, batch: int, value: LossValue) -> str:
    terms = ", ".join(f"{name} = {float(term.detach()):.4g}" for name, term in value.terms.items())
    bad = [name for name, term in value.terms.items() if not bool(torch.isfinite(term))]
    blame = f"loss term {bad[0]!r}" if bad else "the weighted total"
    return (
        f"epoch {epoch}, batch {batch}: {blame} is not finite ({terms}); stopped before the step. "
        "Lower the learning rate (regime.lr), or clip the gradient (regime.clip_norm=1.0)."
    )
