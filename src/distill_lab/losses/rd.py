"""Ranking distillation: the teacher's top items are scored up; logits are scores of items."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import DistillBatch
from distill_lab.losses.base import Loss
from distill_lab.losses.labels import class_indices
from distill_lab.losses.precision import wide


def rd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    num_ranked: int,
    decay: float,
    discrepancy: float | None,
) -> Tensor:
    """Log-loss of the teacher's top items, as if the student had seen that they are relevant.

    The item of rank r = 1, 2, ... weighs exp(-r / decay), normalised. With a discrepancy it also
    weighs tanh(discrepancy * max(0, d)), where d is by how many ranks the student has it too low.
    Scores go through a sigmoid, so unlike a softmax they are not free by a constant.

    Source: Tang and Wang 2018, arXiv:1809.07428, weights of equations 8 and 9, with the code
    graytowne/rank_distill. There the student's rank is estimated from a sample of items; here all
    items are scored and the rank is exact. As in that code the product of both weights is not
    normalised again.

    Args:
        student_logits: (B, K) scores of K items, any float dtype; computed in float32.
        teacher_logits: (B, K), treated as a constant.
        targets: (B,) item that the sample is about, or (B, K) probabilities, of which the likeliest
            item counts; it is left out of both rankings.
        num_ranked: the teacher's top items that count, >= 1; at most K - 1 do.
        decay: > 0, in ranks.
        discrepancy: > 0, per rank; None: positions alone weigh.

    Returns:
        Scalar, mean over B; not 0 when both agree, except with a discrepancy.

    Raises:
        ValueError: the shapes differ.
    """
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"rd: student logits are {tuple(student_logits.shape)}, teacher logits "
            f"{tuple(teacher_logits.shape)}; both must be (B, K) over the same K items."
        )
    ranked = top_items(teacher_logits, targets, num_ranked)
    scores = wide(student_logits).gather(1, ranked)
    ranks = torch.arange(ranked.shape[1], device=ranked.device)
    weights = torch.softmax(-ranks.to(scores.dtype) / decay, dim=0).expand(ranked.shape)
    if discrepancy is not None:
        lag = student_ranks(student_logits, targets, ranked) - ranks
        weights = weights * torch.tanh(discrepancy * lag.clamp_min(0).to(scores.dtype))
    return -(weights * F.logsigmoid(scores)).sum(dim=1).mean()


def top_items(teacher_logits: Tensor, targets: Tensor, num_ranked: int) -> Tensor:
    """Return (B, n) items in the teacher's order, best first, without the sample's own.

    >>> top_items(torch.tensor([[3.0, 1.0, 2.0, 0.0]]), torch.tensor([2]), 2)
    tensor([[0, 1]])
    """
    others = _without(teacher_logits, targets)
    return others.topk(min(num_ranked, others.shape[1] - 1), dim=1).indices


def student_ranks(student_logits: Tensor, targets: Tensor, items: Tensor) -> Tensor:
    """Return (B, n): how many other items the student scores above each item.

    >>> student_ranks(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0]), torch.tensor([[1, 2]]))
    tensor([[1, 0]])
    """
    others = _without(student_logits, targets)
    ordered = others.sort(dim=1).values
    scores = others.gather(1, items)
    return others.shape[1] - torch.searchsorted(ordered, scores, right=True)


def _without(logits: Tensor, targets: Tensor) -> Tensor:
    own = class_indices(targets).unsqueeze(1)
    return wide(logits.detach()).scatter(1, own, -torch.inf)


class RD(Loss):
    """`rd` as a term; with several teachers, the mean over them.

    Args:
        weight: of the term, >= 0.
        num_ranked: the teacher's top items that count, >= 1.
        decay: > 0, in ranks: how fast lower ranks lose weight.
        discrepancy: > 0, per rank: how soon an item that the student has too low weighs fully.
        start_epoch: epochs after which the discrepancy counts, >= 0.
    """

    zero_at_match: ClassVar[bool] = False
    reads_labels: ClassVar[bool] = True

    def __init__(
        self, weight: float, num_ranked: int, decay: float, discrepancy: float, start_epoch: int
    ) -> None:
        super().__init__(weight)
        if num_ranked < 1:
            raise ValueError(f"num_ranked: must be >= 1, got {num_ranked}.")
        if not decay > 0:
            raise ValueError(f"decay: must be > 0, got {decay}.")
        if not discrepancy > 0:
            raise ValueError(f"discrepancy: must be > 0, got {discrepancy}.")
        if start_epoch < 0:
            raise ValueError(f"start_epoch: must be >= 0, got {start_epoch}.")
        self.num_ranked = num_ranked
        self.decay = decay
        self.discrepancy = discrepancy
        self.start_epoch = start_epoch

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted log-loss of the teachers' top items."""
        student, targets = batch.student.logits, batch.targets
        discrepancy = self.discrepancy if batch.epoch >= self.start_epoch else None
        numbers = (self.num_ranked, self.decay, discrepancy)
        values = [rd(student, teacher.logits, targets, *numbers) for teacher in batch.teachers]
        return torch.stack(values).mean()
