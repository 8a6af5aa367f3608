"""Self-supervised distillation: what the teacher says about rotated copies of the batch."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.contracts import DistillBatch, Output
from distill_lab.losses.base import Loss
from distill_lab.losses.divergence import kl_divergence
from distill_lab.losses.labels import class_indices
from distill_lab.losses.precision import full_precision, wide

ROTATIONS = 3


def sskd(
    student_scores: Tensor,
    teacher_scores: Tensor,
    targets: Tensor,
    temperature: float,
    wrong_fraction: float,
) -> Tensor:
    """KL(teacher || student) over rows that the teacher is trusted with, times temperature squared.

    Rows that the teacher gets right are kept, and of the others the given fraction, those first
    where few scores are above the target's.

    Source: Xu, Liu, Li, Loy 2020, arXiv:2006.07114, section 3, and the
    authors' code, which has no value where no row is kept; here it is 0.

    Args:
        student_scores: (M, K) logits or similarities, any float dtype; computed in float32.
        teacher_scores: (M, K), treated as a constant.
        targets: (M,) the right column of each row.
        temperature: > 0, no unit.
        wrong_fraction: 0 to 1.

    Returns:
        Scalar in nats, mean over the rows that are kept; 0 where the softened scores agree.

    Raises:
        ValueError: the shapes differ, or the temperature is not above 0.
    """
    if student_scores.shape != teacher_scores.shape or len(targets) != len(student_scores):
        raise ValueError(
            f"sskd: student scores are {tuple(student_scores.shape)}, teacher scores "
            f"{tuple(teacher_scores.shape)}, targets {tuple(targets.shape)}; they must be (M, K), "
            "(M, K) and (M,)."
        )
    if not temperature > 0:
        raise ValueError(f"sskd: temperature must be > 0, got {temperature}.")
    teacher = wide(teacher_scores.detach())
    rank = (teacher > teacher.gather(1, targets[:, None])).sum(dim=1)  # 0: the teacher is right
    wrong = (rank > 0).sum()
    num_kept = len(rank) - wrong + (wrong * wrong_fraction).long()
    kept = rank.argsort(stable=True).argsort() < num_kept
    divergence = kl_divergence(
        F.log_softmax(wide(student_scores) / temperature, dim=1),
        F.log_softmax(teacher / temperature, dim=1),
    )
    return (divergence * kept).sum() / num_kept.clamp(min=1) * temperature**2


@full_precision()
def similarities(rotated: Tensor, original: Tensor) -> Tensor:
    """Return (M, B) cosines of embeddings of M rotated samples with those of B originals."""
    return _unit(wide(rotated)) @ _unit(wide(original)).T


def _unit(embedding: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(embedding, dim=1, keepdim=True)
    return embedding / length.where(length > 0, 1.0)  # zeros keep a finite gradient


class SSKD(Loss):
    """`sskd` of the logits of rotated images, and of their similarities with the originals.

    What differs from the paper: embeddings are the logits. There each network has a projection
    head, and the teacher's is first trained for 60 epochs to tell which image was rotated. So the
    teacher is judged and asked here as it is. The other terms of the paper are `ce` and `kd`, of
    weight 0.1 and 0.9. Every step asks both networks about four times as many images, and their
    batch norms see rotated ones too.

    Args:
        weight: of the term, >= 0.
        rotation_weight: of the logits of rotated images within the term, >= 0; at the temperature
            of the batch.
        similarity_weight: of the similarities within the term, >= 0.
        similarity_temperature: that cosines are divided by, > 0.
        rotation_wrong_fraction: of rotated images that the teacher takes for another class, those
            kept; 0 to 1.
        similarity_wrong_fraction: of rotated images that the teacher finds nearer to another
            original, those kept; 0 to 1.
    """

    order_matters: ClassVar[bool] = True  # the answers to rotated images are in the batch's order
    reads_labels: ClassVar[bool] = True

    def __init__(
        self,
        weight: float,
        rotation_weight: float,
        similarity_weight: float,
        similarity_temperature: float,
        rotation_wrong_fraction: float,
        similarity_wrong_fraction: float,
    ) -> None:
        super().__init__(weight)
        for name, value in (
            ("rotation_weight", rotation_weight),
            ("similarity_weight", similarity_weight),
        ):
            if not value >= 0:
                raise ValueError(f"{name}: must be >= 0, got {value}.")
        for name, value in (
            ("rotation_wrong_fraction", rotation_wrong_fraction),
            ("similarity_wrong_fraction", similarity_wrong_fraction),
        ):
            if not 0 <= value <= 1:
                raise ValueError(f"{name}: must be in [0, 1], got {value}.")
        if not similarity_temperature > 0:
            raise ValueError(f"similarity_temperature: must be > 0, got {similarity_temperature}.")
        self.rotation_weight = rotation_weight
        self.similarity_weight = similarity_weight
        self.similarity_temperature = similarity_temperature
        self.rotation_wrong_fraction = rotation_wrong_fraction
        self.similarity_wrong_fraction = similarity_wrong_fraction

    def extra_inputs(self, inputs: Tensor) -> Tensor | None:
        """Return (3B, C, H, W): all images by a quarter turn, then by two, then by three.

        Raises:
            ValueError: the inputs are no square images.
        """
        if inputs.ndim != 4 or inputs.shape[2] != inputs.shape[3]:
            raise ValueError(
                f"sskd: rotates square images (B, C, H, H), got {tuple(inputs.shape)}. Leave it "
                "out: loss=[ce,kd]."
            )
        return torch.cat([inputs.rot90(turns, (2, 3)) for turns in range(1, ROTATIONS + 1)])

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted sum of both divergences; mixed labels count as the likeliest class.

        Raises:
            ValueError: the batch has no answers to rotated images.
        """
        if batch.extra is None:
            raise ValueError(
                "sskd: the batch has no answers about rotated images (DistillBatch.extra is None); "
                "ask both networks about extra_inputs."
            )
        labels = class_indices(batch.targets).repeat(ROTATIONS)
        values = [
            self._value((batch.student, batch.extra.student), teacher, labels, batch.temperature)
            for teacher in zip(batch.teachers, batch.extra.teachers, strict=True)
        ]
        return torch.stack(values).mean()

    def _value(
        self,
        student: tuple[Output, Output],
        teacher: tuple[Output, Output],
        labels: Tensor,
        temperature: float,
    ) -> Tensor:
        (original, rotated), (true_original, true_rotated) = (
            (outputs[0].logits, outputs[1].logits) for outputs in (student, teacher)
        )
        fraction = self.rotation_wrong_fraction
        rotation = sskd(rotated, true_rotated, labels, temperature, fraction)
        similarity = sskd(
            similarities(rotated, original),
            similarities(true_rotated, true_original),
            torch.arange(len(original), device=labels.device).repeat(ROTATIONS),
            self.similarity_temperature,
            self.similarity_wrong_fraction,
        )
        return self.rotation_weight * rotation + self.similarity_weight * similarity
