"""Scale-decoupled distillation: the classifier's opinion on parts of the last map."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_lab.contracts import DistillBatch, Shapes
from distill_lab.losses.classifier import classifier_for
from distill_lab.losses.divergence import kl_divergence
from distill_lab.losses.labels import class_indices
from distill_lab.losses.pairs import PairLoss
from distill_lab.losses.precision import full_precision, wide


def sdd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    temperature: float,
    disagreement_weight: float,
) -> Tensor:
    """KL(teacher || student) of softened outputs for each cell of a map, times temperature squared.

    Source: Wei, Luo, Luo 2024, arXiv:2403.13512; code base shicaiwei123/SDD-CVPR2024, which sets
    to 0 what is not a number there; here nothing is.

    Args:
        student_logits: (B, P, K) of P cells, the first of which is the whole map; any float dtype,
            computed in float32.
        teacher_logits: (B, P, K), treated as a constant.
        targets: (B,) class indices, or (B, K) probabilities, of which the likeliest class counts.
        temperature: > 0, no unit.
        disagreement_weight: of cells where the teacher is right and is wrong on the whole map, or
            the reverse; other cells have weight 1.

    Returns:
        Scalar in nats, mean over B and P (the weights do not divide it).

    Raises:
        ValueError: the shapes differ, or the temperature is not above 0.
    """
    if student_logits.shape != teacher_logits.shape or student_logits.ndim != 3:
        raise ValueError(
            f"sdd: student logits are {tuple(student_logits.shape)}, teacher logits "
            f"{tuple(teacher_logits.shape)}; both must be (B, P, K) of the same cells and classes."
        )
    if not temperature > 0:
        raise ValueError(f"sdd: temperature must be > 0, got {temperature}.")
    teacher = wide(teacher_logits.detach())
    right = teacher.argmax(dim=2) == class_indices(targets)[:, None]
    weights = torch.where(right == right[:, :1], 1.0, disagreement_weight)
    divergence = kl_divergence(
        F.log_softmax(wide(student_logits) / temperature, dim=2),
        F.log_softmax(teacher / temperature, dim=2),
    )
    return (weights.to(divergence.dtype) * divergence).mean() * temperature**2


class SDD(PairLoss):
    """`sdd` as a term over the last maps, each read by its own network's classifier.

    The maps have to be those that are averaged for the classifier. The student's classifier learns
    from every cell, as published. The mean over pairs and teachers.

    Args:
        weight: of the term, >= 0.
        pairs: [student tap, teacher tap] each, or "auto": the last pair of maps.
        scales: cells along each side of the map; 1, the whole map, comes first.
        disagreement_weight: see `sdd`, >= 0.
    """

    reads_labels: ClassVar[bool] = True
    axes: ClassVar[tuple[int, ...]] = (4,)
    choice: ClassVar[Literal["all", "middle", "last"]] = "last"
    classified: ClassVar[tuple[str, ...]] = ("student", "teacher")

    def __init__(
        self,
        weight: float,
        pairs: list[list[str]] | Literal["auto"],
        scales: list[int],
        disagreement_weight: float,
    ) -> None:
        super().__init__(weight, pairs)
        if list(scales[:1]) != [1] or list(scales) != sorted(set(scales)):
            raise ValueError(f"scales: must grow from 1, e.g. [1, 2, 4], got {scales}.")
        if not disagreement_weight >= 0:
            raise ValueError(f"disagreement_weight: must be >= 0, got {disagreement_weight}.")
        self.scales = tuple(scales)
        self.disagreement_weight = disagreement_weight

    def connect(
        self, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...], num_samples: int
    ) -> None:
        """Check the pairs, and that the maps have enough positions for the finest scale."""
        super().connect(student_shapes, teacher_shapes, num_samples)
        read = [student_shapes[tap] for tap in self.needs.student]
        read += [shapes[tap] for shapes in teacher_shapes for tap in self.needs.teacher]
        side = min(min(shape[2:]) for shape in read)
        if side < self.scales[-1]:
            raise ValueError(
                f"scales: must not exceed the {side} positions along a side of the smallest map, "
                f"got {list(self.scales)}. Leave out the finest, or choose an earlier layer."
            )

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted divergence from the teacher(s)."""
        values = [
            sdd(
                cell_logits(student, classifier_for(batch.student, tap), self.scales),
                cell_logits(said, classifier_for(teacher, teacher_tap), self.scales),
                batch.targets,
                batch.temperature,
                self.disagreement_weight,
            )
            for number, teacher in enumerate(batch.teachers)
            for (tap, teacher_tap), (student, said) in zip(
                self.pairs, self.features(batch, number), strict=True
            )
        ]
        return torch.stack(values).mean()


@full_precision()
def cell_logits(maps: Tensor, classifier: nn.Linear, scales: tuple[int, ...]) -> Tensor:
    """Return (B, P, K): what a classifier says to the average of each cell of maps (B, C, H, W).

    The published code makes coarser cells of the finest ones, which is the same where the finest
    scale divides the side of the map.

    Args:
        maps: (B, C, H, W).
        classifier: of C features.
        scales: cells along each side; P is the sum of their squares.

    Raises:
        ValueError: there are no maps.
    """
    if maps.ndim != 4:
        raise ValueError(f"sdd: cells are of maps (B, C, H, W), got {tuple(maps.shape)}.")
    features = wide(maps)
    cells = [F.adaptive_avg_pool2d(features, scale).flatten(2) for scale in scales]
    weight = classifier.weight.to(features.dtype)
    bias = None if classifier.bias is None else classifier.bias.to(features.dtype)
    return wide(F.linear(torch.cat(cells, dim=2).transpose(1, 2), weight, bias))
