"""The networks that stage 6 examines, as its parts hand them to each other."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from distill_lab.measure.timing import Latency
from distill_lab.stages.handoffs import Candidate, TrainedStudent

Named = dict[str, Tensor]
"""Name of a row of the table -> logits (N, K)."""


@dataclass(frozen=True)
class Measured:
    """One network, where it comes from, and what it says on the test split."""

    name: str
    trained: Candidate | TrainedStudent
    net: nn.Module
    logits: Tensor
    latency: Latency
