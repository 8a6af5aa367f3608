"""Probabilistic knowledge transfer: the teacher's neighbourhoods within the batch."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from distill_lab.contracts import DistillBatch
from distill_lab.losses.pairs import PairLoss, pooled
from distill_lab.losses.precision import full_precision, wide

EPSILON = 1e-7
"""Added to lengths and to probabilities, as published."""


@full_precision()
def pkt(student_embedding: Tensor, teacher_embedding: Tensor) -> Tensor:
    """KL(teacher || student) of each sample's probabilities to be next to the others.

    A probability is (cosine + 1) / 2, divided by the sum of its row.

    Source: Passalis, Tefas 2018, arXiv:1803.10837, section 3; the authors' code. As there,
    a sample is its own neighbour too, and the mean is over all B x B entries.

    Args:
        student_embedding: (B, D), any float dtype; computed in float32.
        teacher_embedding: (B, D'), treated as a constant.

    Returns:
        Scalar in nats, divided by B twice; so it depends on the batch size. 0 for a batch of one.

    Raises:
        ValueError: an embedding has other axes, or the batch sizes differ.
    """
    axes = student_embedding.ndim, teacher_embedding.ndim
    if axes != (2, 2) or len(student_embedding) != len(teacher_embedding):
        raise ValueError(
            f"pkt: student embedding is {tuple(student_embedding.shape)}, teacher embedding "
            f"{tuple(teacher_embedding.shape)}; both must be (B, D) of the same B samples. "
            "Pool maps and tokens first."
        )
    student = _neighbours(student_embedding)
    teacher = _neighbours(teacher_embedding.detach())
    return (teacher * ((teacher + EPSILON) / (student + EPSILON)).log()).mean()


def _neighbours(embedding: Tensor) -> Tensor:
    embedding = wide(embedding)
    length = torch.linalg.vector_norm(embedding, dim=1, keepdim=True)
    unit = embedding / (length.where(length > 0, 1.0) + EPSILON)  # zeros keep a finite gradient
    similarity = (unit @ unit.T + 1) / 2
    return similarity / similarity.sum(dim=1, keepdim=True)


class PKT(PairLoss):
    """`pkt` of pooled features as a term: sum over pairs, mean over teachers."""

    mixes_axes: ClassVar[bool] = True
    choice: ClassVar[Literal["all", "middle", "last"]] = "last"

    def __init__(self, weight: float, pairs: list[list[str]] | Literal["auto"]) -> None:
        super().__init__(weight, pairs)

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted divergence of neighbourhoods."""
        teachers = range(len(batch.teachers))
        values = [
            pkt(pooled(student), pooled(teacher))
            for number in teachers
            for student, teacher in self.features(batch, number)
        ]
        return torch.stack(values).sum() / len(teachers)
