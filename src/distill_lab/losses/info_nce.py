"""InfoNCE within the batch: which student embedding belongs to which teacher embedding."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_lab.contracts import DistillBatch, Shapes
from distill_lab.losses.pairs import PairLoss, pooled
from distill_lab.losses.precision import full_precision
from distill_lab.losses.regressor import Regressor, one_each
from distill_lab.losses.unit import unit_vectors


@full_precision()
def info_nce(student_embedding: Tensor, teacher_embedding: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of finding each sample's partner in the batch, by cosine, in both directions.

    Source: van den Oord, Li, Vinyals 2018, arXiv:1807.03748, equation 4; symmetric as in Radford et
    al. 2021, arXiv:2103.00020, figure 3. Other samples of the same class count as negatives.

    Args:
        student_embedding: (B, D), any float dtype; computed in float32.
        teacher_embedding: (B, D); it has a gradient for the sake of a projection that is trained,
            so what is projected has to be a constant.
        temperature: cosines are divided by, > 0.

    Returns:
        Scalar in nats, mean over B and both directions; 0 for a batch of one, log B where all
        embeddings agree.

    Raises:
        ValueError: the shapes differ, or the temperature is not above 0.
    """
    if student_embedding.ndim != 2 or student_embedding.shape != teacher_embedding.shape:
        raise ValueError(
            f"info_nce: student embedding is {tuple(student_embedding.shape)}, teacher embedding "
            f"{tuple(teacher_embedding.shape)}; both must be the same (B, D). Project them first."
        )
    if not temperature > 0:
        raise ValueError(f"info_nce: temperature must be > 0, got {temperature}.")
    student, teacher = unit_vectors(student_embedding), unit_vectors(teacher_embedding)
    scores = student @ teacher.T / temperature
    partner = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, partner) + F.cross_entropy(scores.T, partner)) / 2


class InfoNCE(PairLoss):
    """`info_nce` of linear projections of pooled features: sum over pairs, mean over teachers.

    It needs neither labels nor a memory; the batch is all there is to contrast with.

    Args:
        weight: of the term, >= 0.
        pairs: see `PairLoss`.
        dimension: of the projections, >= 1.
        contrast_temperature: cosines are divided by, > 0.
    """

    zero_at_match: ClassVar[bool] = False
    mixes_axes: ClassVar[bool] = True
    choice: ClassVar[Literal["all", "middle", "last"]] = "last"

    def __init__(
        self,
        weight: float,
        pairs: list[list[str]] | Literal["auto"],
        dimension: int,
        contrast_temperature: float,
    ) -> None:
        super().__init__(weight, pairs)
        if dimension < 1:
            raise ValueError(f"dimension: must be >= 1, got {dimension}.")
        if not contrast_temperature > 0:
            raise ValueError(f"contrast_temperature: must be > 0, got {contrast_temperature}.")
        self.dimension = dimension
        self.contrast_temperature = contrast_temperature

    def connect(
        self, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...], num_samples: int
    ) -> None:
        """Build a projection of each end of each pair."""
        self.check_shapes(student_shapes, teacher_shapes)
        self.student_projections = self._projections([student_shapes[a] for a, _ in self.pairs])
        self.teacher_projections = one_each(
            len(teacher_shapes),
            lambda number: self._projections([teacher_shapes[number][b] for _, b in self.pairs]),
        )

    def _projections(self, shapes: list[tuple[int, ...]]) -> nn.ModuleList:
        widths = [shape[1] if len(shape) == 4 else shape[-1] for shape in shapes]
        return nn.ModuleList(Regressor((1, width), (1, self.dimension)) for width in widths)

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted cross-entropy."""
        values = [
            info_nce(
                project_student(pooled(student)),
                project_teacher(pooled(teacher)),
                self.contrast_temperature,
            )
            for number, projections in enumerate(self.teacher_projections)
            for project_student, project_teacher, (student, teacher) in zip(
                self.student_projections,
                projections.children(),
                self.features(batch, number),
                strict=True,
            )
        ]
        return torch.stack(values).sum() / len(batch.teachers)
