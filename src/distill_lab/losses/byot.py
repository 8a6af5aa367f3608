"""Be your own teacher: a network's output teaches classifiers on its earlier layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_lab.contracts import DistillBatch, Shapes
from distill_lab.losses.base import Loss, Needs
from distill_lab.losses.batch_norm import BatchNorm
from distill_lab.losses.ce import ce
from distill_lab.losses.kd import kd
from distill_lab.losses.pairs import KINDS, pooled
from distill_lab.losses.precision import wide


def byot(
    exit_logits: Tensor,
    exit_feature: Tensor,
    student_logits: Tensor,
    last_feature: Tensor,
    targets: Tensor,
    temperature: float,
    label_weight: float,
    divergence_weight: float,
    hint_weight: float,
) -> Tensor:
    """What one exit learns: from the labels, from the network's output and from its last layer.

    label_weight CE(targets, exit) + divergence_weight T^2 KL(student || exit) + hint_weight times
    the mean squared difference of the features.

    Source: Zhang et al. 2019, arXiv:1905.08094, section 3, where the first two weights are 1 -
    alpha and alpha. The hint there is a squared distance; the authors' code
    (luanyunteng/pytorch-be-your-own-teacher) sums it over B and D, which this divides by B D.

    Args:
        exit_logits: (B, K), any float dtype; computed in float32.
        exit_feature: (B, D), what those are made of.
        student_logits: (B, K) of the whole network, treated as a constant.
        last_feature: (B, D) of its last layer, treated as a constant.
        targets: (B,) class indices, or (B, K) probabilities (mixed labels).
        temperature: > 0, of the divergence.
        label_weight: of the labels.
        divergence_weight: of the divergence, which is in nats.
        hint_weight: of the features.

    Returns:
        Scalar, mean over B.

    Raises:
        ValueError: shapes differ, or the temperature is not above 0.
    """
    for what, early, last in (
        ("logits", exit_logits, student_logits),
        ("features", exit_feature, last_feature),
    ):
        if early.shape != last.shape:
            raise ValueError(
                f"byot: {what} of the exit are {tuple(early.shape)}, those of the student "
                f"{tuple(last.shape)}; the shapes must be equal."
            )
    return (
        label_weight * ce(exit_logits, targets)
        + divergence_weight * kd(exit_logits, student_logits, temperature)
        + hint_weight * F.mse_loss(wide(exit_feature), wide(last_feature.detach()))
    )


class Exit(nn.Module):
    """A classifier on a layer's feature.

    Maps pass a 3x3 convolution of stride 2 (1x1 ones a plain 1x1 convolution), batch norm and ReLU
    and are averaged over positions; vectors, and tokens averaged over L, pass a linear layer, batch
    norm and ReLU. A linear layer makes logits of that.

    Args:
        shape: of the layer's feature: (B, C, H, W), (B, L, D) or (B, D).
        width: of the exit's own feature.
        num_classes: K.
    """

    def __init__(self, shape: tuple[int, ...], width: int, num_classes: int) -> None:
        super().__init__()
        self.layer: nn.Module  # no bias: batch norm subtracts it again
        if len(shape) == 4:
            side, stride = (3, 2) if max(shape[2:]) > 1 else (1, 1)
            self.layer = nn.Conv2d(shape[1], width, side, stride, padding=side // 2, bias=False)
        else:
            self.layer = nn.Linear(shape[-1], width, bias=False)
        self.norm = BatchNorm(width)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, K), and the feature (B, width) they are made of."""
        read = wide(feature) if feature.ndim == 4 else pooled(feature)
        own = pooled(F.relu(self.norm(self.layer(read))))
        return self.classifier(own), own


class BYOT(Loss):
    """`byot` as a term: the sum over exits on the student's own layers; it reads no teacher.

    The exits are trained with the student and not exported. Their gradient reaches the student's
    layers, which is what it learns by; the output and the last layer, which they learn from, are
    constants. The student's own cross-entropy is the term `ce`, of weight 1 in the paper and
    1 - alpha in the authors' code. `temperature` of the config is ignored.

    What differs from the paper: an exit has one convolution of stride 2; the authors' code brings
    the maps to the size of the last one's by a bottleneck of three. The exit's feature is never
    negative, so it reaches a hint only where the last layer ends in a ReLU, as the paper's does.

    Args:
        weight: of the term, >= 0.
        exits: student taps that are maps, tokens or vectors, or "auto": all such layers of the
            student but the last, which gives the hints.
        label_weight: of the labels within an exit, >= 0.
        divergence_weight: of the student's softened output, >= 0.
        hint_weight: of the last layer's feature, averaged over positions or tokens, >= 0.
        temperature: of the divergence, > 0.
    """

    uses_teacher: ClassVar[bool] = False
    zero_at_match: ClassVar[bool] = False
    full_gradient: ClassVar[bool] = False  # output and last layer are constants
    reads_labels: ClassVar[bool] = True

    def __init__(
        self,
        weight: float,
        exits: list[str] | Literal["auto"],
        label_weight: float,
        divergence_weight: float,
        hint_weight: float,
        temperature: float,
    ) -> None:
        super().__init__(weight)
        if not exits:
            raise ValueError(f"exits: must be auto, or one layer or more, got {exits}.")
        if not label_weight >= 0:
            raise ValueError(f"label_weight: must be >= 0, got {label_weight}.")
        if not divergence_weight >= 0:
            raise ValueError(f"divergence_weight: must be >= 0, got {divergence_weight}.")
        if not hint_weight >= 0:
            raise ValueError(f"hint_weight: must be >= 0, got {hint_weight}.")
        if not temperature > 0:
            raise ValueError(f"temperature: must be > 0, got {temperature}.")
        self.auto = exits == "auto"
        self.layers = () if isinstance(exits, str) else tuple(exits)
        self.weights = (label_weight, divergence_weight, hint_weight)
        self.temperature = temperature

    @property
    def needs(self) -> Needs:
        """The layers with an exit, and the last one."""
        return Needs(tuple(dict.fromkeys((*self.layers, self.last))))

    def see_student(
        self, student: nn.Module, taps: Sequence[str], classifier: nn.Linear | None
    ) -> None:
        """Note the last layer, those before it where none are named, and the number of classes.

        Raises:
            ValueError: the student has no linear classifier, or no layers.
        """
        if classifier is None or not taps:
            raise ValueError(
                "exits: need the student's layers, and its linear classifier for the number of "
                f"classes; {type(student).__name__} has the layers {list(taps)} and the "
                f"classifier {classifier}."
            )
        self.num_classes = classifier.out_features
        self.last = taps[-1]
        if self.auto:
            self.layers = tuple(taps[:-1])

    def connect(
        self, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...], num_samples: int
    ) -> None:
        """Build the exits.

        Raises:
            ValueError: a layer cannot be read, or "auto" finds none.
        """
        if self.auto:
            self.layers = tuple(t for t in self.layers if len(student_shapes[t]) in KINDS)
        read = {tap: student_shapes[tap] for tap in (*self.layers, self.last)}
        unread = [tap for tap, shape in read.items() if len(shape) not in KINDS]
        if not self.layers or self.last in self.layers or unread:
            raise ValueError(
                f"exits: must be layers before the last one, {self.last!r}, all "
                f"{' or '.join(KINDS.values())}; found {read}. Take a deeper student, or name "
                "layers: exits=[student tap]."
            )
        last = read[self.last]
        width = last[1] if len(last) == 4 else last[-1]
        self.exits = nn.ModuleList(Exit(read[t], width, self.num_classes) for t in self.layers)

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted sum over the exits."""
        said = batch.student
        last = pooled(said.features[self.last])
        answers = [
            own(said.features[tap]) for tap, own in zip(self.layers, self.exits, strict=True)
        ]
        values = [
            byot(logits, own, said.logits, last, batch.targets, self.temperature, *self.weights)
            for logits, own in answers
        ]
        return torch.stack(values).sum()
