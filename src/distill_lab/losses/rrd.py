"""Relaxed ranking distillation: top items in order, above others; logits are item scores."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from distill_lab.contracts import DistillBatch, Shapes
from distill_lab.losses.base import Loss
from distill_lab.losses.precision import wide
from distill_lab.losses.rd import top_items


def rrd(ranked_scores: Tensor, uninteresting_scores: Tensor) -> Tensor:
    """Negative log-likelihood of an order of top items, all above others whose order is free.

    The likelihood is Plackett and Luce's: items are drawn one after the other, each with the
    softmax of its score among the items that are left.

    Source: Kang et al. 2020, arXiv:2012.04357, the part on ranks (RRD). The authors' code
    (relaxed_ranking_loss) sums over the batch and takes logarithms of sums of exponentials that
    overflow; here it is the mean, in log space.

    Args:
        ranked_scores: (B, n) the student's scores of the top items, best first, any float dtype;
            computed in float32.
        uninteresting_scores: (B, m) the student's scores of the other items; m may be 0.

    Returns:
        Scalar in nats, summed over the top items, mean over B; never 0 with two items or more.

    Raises:
        ValueError: the shapes are not (B, n) and (B, m).
    """
    shapes = tuple(ranked_scores.shape), tuple(uninteresting_scores.shape)
    if not all(len(shape) == 2 for shape in shapes) or shapes[0][0] != shapes[1][0]:
        raise ValueError(
            f"rrd: ranked scores are {shapes[0]}, the others {shapes[1]}; they must be (B, n) and "
            "(B, m), of the same B samples."
        )
    ranked = wide(ranked_scores)
    # Reversed, so that a running sum over what came before is that over the items that are left.
    left = torch.cat([wide(uninteresting_scores), ranked.flip(1)], dim=1).logcumsumexp(dim=1)
    left = left[:, uninteresting_scores.shape[1] :].flip(1)
    return (left - ranked).sum(dim=1).mean()


class RRD(Loss):
    """`rrd` of the teacher's top items; with several teachers, the mean over them.

    The sample's own item takes no part. The others are drawn in every step from those below the
    top, at the same ranks of the teacher for all samples; draws depend on the seed of the run and
    the progress of training alone, so a run that is resumed goes on as it would have. Unlike in
    the paper, which draws them too, the top items are always the teacher's first.

    Args:
        weight: of the term, >= 0.
        num_ranked: the teacher's top items, >= 1; at most all other than the sample's own.
        num_uninteresting: items drawn from those below, >= 0; at most all of them.
    """

    zero_at_match: ClassVar[bool] = False
    order_matters: ClassVar[bool] = True
    reads_labels: ClassVar[bool] = True

    def __init__(self, weight: float, num_ranked: int, num_uninteresting: int) -> None:
        super().__init__(weight)
        if num_ranked < 1:
            raise ValueError(f"num_ranked: must be >= 1, got {num_ranked}.")
        if num_uninteresting < 0:
            raise ValueError(f"num_uninteresting: must be >= 0, got {num_uninteresting}.")
        self.num_ranked = num_ranked
        self.num_uninteresting = num_uninteresting

    def connect(
        self, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...], num_samples: int
    ) -> None:
        """Keep the seed of the run."""
        self.seed = torch.initial_seed()

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted negative log-likelihood of the teachers' orders."""
        student = batch.student.logits
        if student.shape != batch.teachers[0].logits.shape:
            raise ValueError(
                f"student logits are {tuple(student.shape)}, teacher logits "
                f"{tuple(batch.teachers[0].logits.shape)}; both must score the same items."
            )
        values = []
        for teacher in batch.teachers:
            order = top_items(teacher.logits, batch.targets, student.shape[1])
            ranked = order[:, : self.num_ranked]
            others = self._drawn(order[:, self.num_ranked :], batch.epoch)
            values.append(rrd(student.gather(1, ranked), student.gather(1, others)))
        return torch.stack(values).mean()

    def _drawn(self, items: Tensor, epoch: float) -> Tensor:
        """Return (B, m) of the items (B, n), without replacement."""
        draws = torch.Generator(items.device).manual_seed(hash((self.seed, epoch)) % 2**63)
        chosen = torch.randperm(items.shape[1], generator=draws, device=items.device)
        return items[:, chosen[: self.num_uninteresting]]
