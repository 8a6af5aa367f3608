"""Training on labels alone: teachers, the control student and short proxies."""

from __future__ import annotations

import torch.nn.functional as F

from distill_lab.contracts import Batch, LossValue
from distill_lab.training.trainee import Trainee


class Supervised(Trainee):
    """Cross-entropy with the labels."""

    def objective_of(self, batch: Batch) -> LossValue:
        """Return the cross-entropy as the only term."""
        loss = F.cross_entropy(self.net(batch.inputs), batch.targets)
        return LossValue(loss, {"ce": loss})
