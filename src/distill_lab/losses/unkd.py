"""Unbiased distillation: the teacher's order of items that are about equally popular."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import DistillBatch, Shapes
from distill_lab.losses.base import Loss
from distill_lab.losses.labels import class_indices
from distill_lab.losses.precision import wide


def unkd(higher_scores: Tensor, lower_scores: Tensor, counts: Tensor) -> Tensor:
    """Negative log-likelihood that of each pair of items the one scores above the other.

    Source: Chen et al. 2023, "Unbiased Knowledge Distillation for Recommendation", WSDM, the loss
    of a group; there a sum over pairs, in the code chengang95/UnKD a mean, as here. That code adds
    1e-10 to probabilities; here logarithms are taken in log space.

    Args:
        higher_scores: (B, P) the student's scores of the items that the teacher has higher, any
            float dtype; computed in float32.
        lower_scores: (B, P) of those that it has lower.
        counts: (B, P) bool, the pairs that count.

    Returns:
        Scalar in nats, mean over the pairs of a sample, 0 where none counts, and then over B.

    Raises:
        ValueError: the shapes are not one (B, P).
    """
    shapes = tuple(higher_scores.shape), tuple(lower_scores.shape), tuple(counts.shape)
    if len(shapes[0]) != 2 or len(set(shapes)) > 1:
        raise ValueError(
            f"unkd: higher scores are {shapes[0]}, lower scores {shapes[1]}, counts {shapes[2]}; "
            "they must be one (B, P)."
        )
    values = F.softplus(wide(lower_scores) - wide(higher_scores)) * counts
    return (values.sum(dim=1) / counts.sum(dim=1).clamp(min=1)).mean()


def popularity_groups(counts: Tensor, num_groups: int) -> Tensor:
    """Divide items into groups in order of popularity, so that all are had about equally often.

    Each group ends at the item whose middle is nearest to its share, so that a share is missed by
    half an item's count at most; the authors' code fills a group until the next item would pass its
    share, and may make one group more or less.

    >>> popularity_groups(torch.tensor([2, 10, 0, 3, 5]), 2)
    tensor([1, 0, 1, 1, 1])

    Args:
        counts: (K,) int64, how often each item was had.
        num_groups: >= 1.

    Returns:
        (K,) int64, 0 for the group of the most popular items. A group is empty where one item is
        had more often than its share.
    """
    ranked, order = counts.sort(descending=True, stable=True)
    twice_middle = 2 * ranked.cumsum(0) - ranked  # whole numbers, so that all devices agree
    group = num_groups * twice_middle // (2 * ranked.sum()).clamp(min=1)
    return torch.empty_like(order).scatter(0, order, group.clamp(max=num_groups - 1))


def rank_pairs(size: int, num_pairs: int, decay: float, draws: torch.Generator) -> Tensor:
    """Draw pairs of two ranks, each rank r with a probability that falls as exp(-r / decay).

    As if both were drawn by themselves, and again where they are the same.

    Args:
        size: number of ranks, >= 2.
        num_pairs: P.
        decay: > 0, in ranks.
        draws: of the CPU, so that all devices have the same pairs.

    Returns:
        (2, P) int64, from 0 on: the higher places, and the lower ones, which are larger numbers.
    """
    ranks = torch.arange(size - 1, dtype=torch.float64)
    below = (size - 1 - ranks) / decay
    # With the sum over all lower places done, what is left of the higher one's probability.
    share = (torch.log(-torch.expm1(-below)) - 2 * ranks / decay).softmax(dim=0)
    higher = torch.multinomial(share, num_pairs, replacement=True, generator=draws)
    part = torch.rand(num_pairs, dtype=torch.float64, generator=draws)
    gap = (-decay * torch.log1p(part * torch.expm1(-below[higher]))).long()
    return torch.stack([higher, (higher + 1 + gap).clamp(max=size - 1)])


class UnKD(Loss):
    """`unkd` of pairs that are drawn in each group of items; with several teachers, their mean.

    In a group the teacher's favourites are drawn most. The ranks that are drawn are the same for
    all samples; they depend on the seed of the run and the progress of training alone, so a run
    that is resumed goes on as it would have. The sample's own item takes no part.

    Three things differ from the paper. How often an item was had is counted from the targets of the
    training samples that were in a batch, which are all of them after one epoch; the groups of the
    first epoch are of what was seen so far. Of what a user had before, the sample's own item alone
    is left out, as in `rd` and `rrd`. Pairs may be of any rank, not of the first 1000 only.

    Memory: 8 N bytes.

    Args:
        weight: of the term, >= 0.
        num_groups: of items, >= 1.
        pairs_per_group: drawn in every step, >= 1.
        decay: > 0, ranks in which the probability to be drawn falls by e.
    """

    zero_at_match: ClassVar[bool] = False
    order_matters: ClassVar[bool] = True
    reads_labels: ClassVar[bool] = True
    labels: Tensor

    def __init__(self, weight: float, num_groups: int, pairs_per_group: int, decay: float) -> None:
        super().__init__(weight)
        for name, value in (("num_groups", num_groups), ("pairs_per_group", pairs_per_group)):
            if value < 1:
                raise ValueError(f"{name}: must be >= 1, got {value}.")
        if not decay > 0:
            raise ValueError(f"decay: must be > 0, got {decay}.")
        self.num_groups = num_groups
        self.pairs_per_group = pairs_per_group
        self.decay = decay

    def connect(
        self, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...], num_samples: int
    ) -> None:
        """Keep the seed of the run, and make room for the items of all training samples."""
        self.seed = torch.initial_seed()
        self.register_buffer("labels", torch.full((num_samples,), -1))  # -1: not seen yet

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted log-loss of the teachers' pairs, and remember the batch's items."""
        student = batch.student.logits
        if student.shape != batch.teachers[0].logits.shape:
            raise ValueError(
                f"student logits are {tuple(student.shape)}, teacher logits "
                f"{tuple(batch.teachers[0].logits.shape)}; both must score the same items."
            )
        own = class_indices(batch.targets)
        labels = self.labels.index_copy(0, batch.index, own)
        if self.training and student.requires_grad:
            self.labels = labels
        counts = labels[labels >= 0].bincount(minlength=student.shape[1])
        groups = popularity_groups(counts, self.num_groups)
        values = []
        for teacher in batch.teachers:
            last = wide(teacher.logits.detach()).scatter(1, own[:, None], -torch.inf)
            higher, lower = self._pairs(last, groups, batch.epoch)
            counted = lower != own[:, None]
            values.append(unkd(student.gather(1, higher), student.gather(1, lower), counted))
        return torch.stack(values).mean()

    def _pairs(self, scores: Tensor, groups: Tensor, epoch: float) -> Tensor:
        """Return (2, B, P) items by scores (B, K), the higher ones first, from every group."""
        draws = torch.Generator().manual_seed(hash((self.seed, epoch)) % 2**63)
        pairs = [groups.new_empty(2, len(scores), 0)]
        for group in range(self.num_groups):
            items = (groups == group).nonzero().squeeze(1)
            if len(items) > 1:
                order = scores[:, items].argsort(dim=1, descending=True, stable=True)
                ranks = rank_pairs(len(items), self.pairs_per_group, self.decay, draws)
                pairs.append(items[order][:, ranks.to(items.device)].transpose(0, 1))
        return torch.cat(pairs, dim=2)
