"""Agree to disagree: weights of teachers that no teacher's gradient is sacrificed for."""

from __future__ import annotations

import torch
from torch import Tensor

from distill_lab.contracts import DistillBatch
from distill_lab.losses.base import Loss
from distill_lab.losses.ebkd import divergences
from distill_lab.losses.precision import full_precision, wide

MOST_STEPS = 500
"""Of the solver; 3 to 20 teachers take 2 to 90."""


@full_precision()
def aekd(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float, max_weight: float
) -> Tensor:
    """KL from each teacher times temperature squared, weighted by a min-norm problem.

    The weights a_k, one per teacher for the whole batch, minimise the length of sum a_k g_k, where
    g_k is the gradient of teacher k's divergence at the student's logits, with sum 1 and
    0 <= a_k <= max_weight. A step along that sum lowers every teacher's divergence, or is zero.

    Source: Du et al. 2020, "Agree to disagree: adaptive ensemble knowledge distillation in gradient
    space", NeurIPS. The gradient is known, T / B (p_student - p_teacher), so the authors' backward
    pass per teacher is saved. Their code (AnTuo1998/AE-KD) reads two things differently: it first
    averages each gradient over the samples of the batch, where opposite ones cancel, and it can
    solve for gradients of unit length and rescale the weights, which may then exceed max_weight.
    Here the problem above is solved as it stands.

    Args:
        student_logits: (B, K), any float dtype; computed in float32.
        teacher_logits: (M, B, K) of M teachers, treated as a constant.
        temperature: > 0, no unit.
        max_weight: the most that a teacher may count, in (0, 1]; less than 1 / M counts as 1 / M.

    Returns:
        Scalar in nats, mean over B; the weights are constants.

    Raises:
        ValueError: the shapes do not fit, or the temperature is not above 0.
    """
    values = divergences(student_logits, teacher_logits, temperature).mean(dim=1)
    student = torch.softmax(wide(student_logits.detach()) / temperature, dim=-1)
    teachers = torch.softmax(wide(teacher_logits.detach()) / temperature, dim=-1)
    gradients = (student - teachers).flatten(1)  # up to a common factor, which does not matter
    weights = min_norm_weights(gradients @ gradients.T, max_weight)
    return (weights * values).sum()


def min_norm_weights(gram: Tensor, max_weight: float) -> Tensor:
    """Minimise a' G a over weights a with sum 1 and 0 <= a <= max_weight.

    Each step moves weight from the teacher with the steepest slope to that with the gentlest, as
    far as it pays or the bounds allow. M is small: plain numbers are the fastest.

    >>> min_norm_weights(torch.tensor([[1.0, 0.0], [0.0, 3.0]]), 1.0)
    tensor([0.7500, 0.2500])

    Args:
        gram: (M, M) inner products of the gradients.
        max_weight: upper bound; less than 1 / M counts as 1 / M.

    Returns:
        (M,). Where several are best, one of them; equal ones if all gradients are zero.
    """
    scale = gram.diagonal().mean().clamp_min(torch.finfo(gram.dtype).tiny)
    rows = (gram / scale).tolist()
    teachers = range(len(rows))
    weights = [1 / len(rows) for _ in teachers]
    bound = max(max_weight, 1 / len(rows))
    for _ in range(MOST_STEPS):
        slopes = [sum(g * a for g, a in zip(row, weights, strict=True)) for row in rows]
        givers = [k for k in teachers if weights[k] > 1e-12]
        takers = [k for k in teachers if weights[k] < bound - 1e-12]
        giver = max(givers, key=slopes.__getitem__)
        taker = min(takers, key=slopes.__getitem__, default=giver)
        gain = slopes[giver] - slopes[taker]
        if gain < 1e-8:
            break
        curvature = rows[giver][giver] + rows[taker][taker] - 2 * rows[giver][taker]
        room = min(weights[giver], bound - weights[taker])
        step = room if gain > room * curvature else gain / curvature
        weights[giver] -= step
        weights[taker] += step
    return torch.tensor(weights, dtype=gram.dtype, device=gram.device)


class AEKD(Loss):
    """`aekd` as a term; with one teacher it is `kd`.

    Args:
        weight: of the term, >= 0.
        max_weight: the most that a teacher may count, in (0, 1].
    """

    def __init__(self, weight: float, max_weight: float) -> None:
        super().__init__(weight)
        if not 0 < max_weight <= 1:
            raise ValueError(f"max_weight: must be in (0, 1], got {max_weight}.")
        self.max_weight = max_weight

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted divergence from the teachers."""
        teachers = torch.stack([teacher.logits for teacher in batch.teachers])
        return aekd(batch.student.logits, teachers, batch.temperature, self.max_weight)
