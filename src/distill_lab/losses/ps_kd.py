"""Progressive self-distillation: the network's own predictions of an epoch ago as targets."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_lab.contracts import DistillBatch, Shapes
from distill_lab.losses.base import Loss
from distill_lab.losses.labels import class_probabilities
from distill_lab.losses.precision import wide

BANKS = ("previous", "current")


def ps_kd(student_logits: Tensor, targets: Tensor, previous: Tensor, share: float) -> Tensor:
    """Cross-entropy with labels that are mixed with earlier predictions.

    Source: Kim et al. 2021, arXiv:2006.12000; code base lgcnsai/PS-KD-Pytorch.

    Args:
        student_logits: (B, K), any float dtype; computed in float32.
        targets: (B,) class indices, or (B, K) probabilities (mixed labels).
        previous: (B, K) probabilities that the network gave before, treated as constants; a row of
            zeros for a sample that it has not seen, which gets its label.
        share: of the earlier prediction in the target, in [0, 1].

    Returns:
        Scalar in nats, mean over B.

    Raises:
        ValueError: the shapes of logits and predictions differ.
    """
    if student_logits.shape != previous.shape:
        raise ValueError(
            f"ps_kd: student logits are {tuple(student_logits.shape)}, earlier predictions "
            f"{tuple(previous.shape)}; both must be (B, K) over the same K classes."
        )
    logits = wide(student_logits)
    label = class_probabilities(targets, logits.shape[1]).to(logits.dtype)
    before = previous.detach().to(logits.dtype)
    seen = before.sum(dim=1, keepdim=True) > 0
    return F.cross_entropy(logits, label + share * seen * (before - label))


class PSKD(Loss):
    """`ps_kd` as a term, to be used in place of `ce`; reads no teacher.

    It remembers the softmax of every training sample, twice N x K numbers in float32: those of the
    epochs before, which are targets, and those of the running epoch. A sample that the last epoch
    left out keeps its older prediction. The number of classes is that of the first batch. Where
    inputs are mixed, the prediction of the mixture is remembered under its first sample.

    Args:
        weight: of the term, >= 0.
        final_share: of the earlier prediction in the target in the last epoch, in [0, 1]; it grows
            linearly with the epochs, the running one counted as done.
    """

    uses_teacher: ClassVar[bool] = False
    zero_at_match: ClassVar[bool] = False
    reads_labels: ClassVar[bool] = True

    previous: Tensor | None
    current: Tensor | None

    def __init__(self, weight: float, final_share: float) -> None:
        super().__init__(weight)
        if not 0 <= final_share <= 1:
            raise ValueError(f"final_share: must be in [0, 1], got {final_share}.")
        self.final_share = final_share
        self.running_epoch = 0
        for bank in BANKS:
            self.register_buffer(bank, None)
        self.register_load_state_dict_pre_hook(_take_banks)

    def connect(
        self, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...], num_samples: int
    ) -> None:
        """Note how many samples there are to remember."""
        self.num_samples = num_samples

    def get_extra_state(self) -> int:
        """Return the epoch that `current` is of."""
        return self.running_epoch

    def set_extra_state(self, state: int) -> None:
        """Take the epoch of a checkpoint."""
        self.running_epoch = state

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted cross-entropy, and remember the predictions for the next epoch."""
        logits = batch.student.logits
        previous, current = self._banks_at(int(batch.epoch), logits)
        share = min(self.final_share * (int(batch.epoch) + 1) / batch.num_epochs, 1.0)
        value = ps_kd(logits, batch.targets, previous[batch.index], share)
        current[batch.index] = wide(logits.detach()).softmax(dim=1).to(current.dtype)
        return value

    def _banks_at(self, epoch: int, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return both banks; at the first step of an epoch, the older takes over the newer one."""
        if self.previous is None or self.current is None:
            empty = wide(logits.detach()).new_zeros(self.num_samples, logits.shape[1])
            self.previous, self.current = empty, empty.clone()
        # A checkpoint's banks come to the CPU, and this term has no weights to follow.
        self.previous, self.current = (
            bank.to(logits.device) for bank in (self.previous, self.current)
        )
        if epoch != self.running_epoch:
            self.previous.copy_(self.current)
            self.running_epoch = epoch
        return self.previous, self.current


def _take_banks(term: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Make room for the banks of a checkpoint, or drop those that it does not have."""
    for bank in BANKS:
        saved = state.get(f"{prefix}{bank}")
        setattr(term, bank, None if saved is None else torch.empty_like(saved))
