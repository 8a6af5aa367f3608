"""Class attention transfer: where a network looks for each class."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_lab.contracts import DistillBatch
from distill_lab.losses.classifier import classifier_for
from distill_lab.losses.pairs import PairLoss
from distill_lab.losses.precision import full_precision, wide

SHORTEST = 1e-4  # a pooled class map below this length is not stretched: its gradient would explode


def cat_kd(student_maps: Tensor, teacher_maps: Tensor, resolution: int) -> Tensor:
    """Mean squared distance of pooled class maps of length 1.

    Source: Guo et al. 2023, arXiv:2304.12777; code base GzyAftermath/CAT-KD with its default
    IF_NORMALIZE on; its configs of runs with labels have it off.

    Args:
        student_maps: (B, K, H, W), any float dtype; computed in float32.
        teacher_maps: (B, K, H', W'), treated as constants; another height and width are allowed.
        resolution: positions along each side after average pooling, >= 1.

    Returns:
        Scalar, mean over B, K and positions; zero iff the pooled maps differ by a factor > 0
        and none is shorter than 1e-4, by which it is then divided (the published code: 1e-12).

    Raises:
        ValueError: one gives no maps, or samples or classes differ.
    """
    maps = student_maps.ndim == teacher_maps.ndim == 4
    if not maps or student_maps.shape[:2] != teacher_maps.shape[:2]:
        raise ValueError(
            f"cat_kd: student maps are {tuple(student_maps.shape)}, teacher maps "
            f"{tuple(teacher_maps.shape)}; both must be (B, K, H, W) over the same K classes."
        )
    student = _pooled_to_length_one(student_maps, resolution)
    return F.mse_loss(student, _pooled_to_length_one(teacher_maps.detach(), resolution))


def _pooled_to_length_one(maps: Tensor, resolution: int) -> Tensor:
    pooled = F.adaptive_avg_pool2d(wide(maps), resolution)
    return F.normalize(pooled.flatten(2), dim=2, eps=SHORTEST)


@full_precision()
def class_maps(maps: Tensor, classifier: nn.Linear) -> Tensor:
    """Return class activation maps (B, K, H, W): the classifier at each position, without its bias.

    Source: Zhou et al. 2016, arXiv:1512.04150, section 2. CAT-KD rebuilds networks to end in a 1x1
    convolution before the average; with a linear classifier after it these are the same maps.

    Args:
        maps: (B, C, H, W).
        classifier: of C features.
    """
    features = wide(maps)
    return wide(F.conv2d(features, classifier.weight.to(features.dtype)[:, :, None, None]))


class CATKD(PairLoss):
    """`cat_kd` as a term over the class activation maps of the last maps.

    The maps have to be those that are averaged for the classifier. The student's classifier learns
    too. The mean over pairs and teachers.

    Args:
        weight: of the term, >= 0.
        pairs: [student tap, teacher tap] each, or "auto": the last pair of maps.
        resolution: positions along each side of a pooled map, >= 1; at 1 only signs are compared.
    """

    axes: ClassVar[tuple[int, ...]] = (4,)
    choice: ClassVar[Literal["all", "middle", "last"]] = "last"
    classified: ClassVar[tuple[str, ...]] = ("student", "teacher")

    def __init__(
        self, weight: float, pairs: list[list[str]] | Literal["auto"], resolution: int
    ) -> None:
        super().__init__(weight, pairs)
        if resolution < 1:
            raise ValueError(f"resolution: must be >= 1, got {resolution}.")
        self.resolution = resolution

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted distance from the teacher(s)."""
        values = [
            cat_kd(
                class_maps(student, classifier_for(batch.student, tap)),
                class_maps(said, classifier_for(teacher, teacher_tap)),
                self.resolution,
            )
            for number, teacher in enumerate(batch.teachers)
            for (tap, teacher_tap), (student, said) in zip(
                self.pairs, self.features(batch, number), strict=True
            )
        ]
        return torch.stack(values).mean()
