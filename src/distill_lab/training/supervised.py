"""Training on labels alone: teachers, the control student and short proxies."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from distill_lab.contracts import Batch, LossValue
from distill_lab.settings import Regime
from distill_lab.training.trainee import Trainee


class Supervised(Trainee):
    """Cross-entropy with the labels, of which a share may be spread over all classes."""

    def __init__(
        self,
        net: nn.Module,
        regime: Regime,
        num_classes: int,
        seed: int,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(net, regime, num_classes, seed)
        self.label_smoothing = label_smoothing

    def objective_of(self, batch: Batch) -> LossValue:
        """Return the cross-entropy as the only term."""
        logits = self.group.gather(self.net(batch.inputs), len(batch.index))
        loss = F.cross_entropy(logits, batch.targets, label_smoothing=self.label_smoothing)
        return LossValue(loss, {"ce": loss})
