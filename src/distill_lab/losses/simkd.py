"""The teacher's last feature, for a student that ends in the teacher's classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_lab.contracts import DistillBatch, Shapes
from distill_lab.losses.pairs import PairLoss, same_size
from distill_lab.losses.precision import wide

REMEDY = "Set design.reuse_classifier=true"


def simkd(projected_feature: Tensor, teacher_feature: Tensor) -> Tensor:
    """Mean squared difference between the student's projected feature and the teacher's last one.

    Source: Chen et al. 2022, arXiv:2203.14001, and the authors' code.

    Args:
        projected_feature: (B, C, H, W) or (B, D), any float dtype; computed in float32.
        teacher_feature: of the same width, treated as a constant. Of two maps of unequal size the
            larger is average-pooled to the smaller.

    Returns:
        Scalar, mean over all elements; zero iff the features agree.

    Raises:
        ValueError: the shapes differ in more than the size of maps.
    """
    student, teacher = wide(projected_feature), wide(teacher_feature.detach())
    if student.ndim == teacher.ndim == 4:
        student, teacher = same_size(student, teacher)
    if student.shape != teacher.shape:
        raise ValueError(
            f"simkd: the projected feature is {tuple(projected_feature.shape)}, the teacher's "
            f"{tuple(teacher_feature.shape)}; both must have the same axes and width. {REMEDY}, "
            "which projects to the teacher's."
        )
    return F.mse_loss(student, teacher)


class SimKD(PairLoss):
    """`simkd` as a term; it stands alone, without labels: `loss=[simkd]`.

    The projector is the student's (`design.reuse_classifier`). With several teachers only the first
    is read, whose classifier the student has: features of others mean nothing to it.
    """

    axes: ClassVar[tuple[int, ...]] = (2, 4)
    choice: ClassVar[Literal["all", "middle", "last"]] = "last"

    def see_student(
        self, student: nn.Module, taps: Sequence[str], classifier: nn.Linear | None
    ) -> None:
        """Take the taps that the student says are to be aligned, where none are named.

        Raises:
            ValueError: it says nothing of the kind.
        """
        if not self.auto:
            return
        aligned = getattr(student, "aligned_taps", None)
        if aligned is None:
            raise ValueError(
                "reads the projector before a teacher's classifier, which the student does not "
                f"have. {REMEDY}."
            )
        self.pairs, self.auto = [aligned], False

    def connect(
        self, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...], num_samples: int
    ) -> None:
        """Check the pairs; there is no regressor, so widths must agree.

        Raises:
            ValueError: they do not.
        """
        self.check_shapes(student_shapes, teacher_shapes[:1])
        for a, b in self.pairs:
            ours, theirs = student_shapes[a], teacher_shapes[0][b]
            if ours[1] != theirs[1]:
                raise ValueError(
                    f"pairs: student {a!r} is {ours}, teacher {b!r} is {theirs}; widths must be "
                    f"equal. {REMEDY} and leave pairs=auto."
                )

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted distance from the first teacher, summed over pairs."""
        return torch.stack([simkd(*pair) for pair in self.features(batch)]).sum()
