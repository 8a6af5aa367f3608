"""The contract of a distillation loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from distill_lab.contracts import DistillBatch, Shapes
from distill_lab.losses.precision import full_precision


class Needs(NamedTuple):
    """Module paths whose features a loss reads.

    Attributes:
        student: paths in the student.
        teacher: paths in every teacher.
    """

    student: tuple[str, ...] = ()
    teacher: tuple[str, ...] = ()


class Loss(nn.Module, ABC):
    """One weighted term of the objective.

    A subclass stores numbers in `__init__`, builds what depends on shapes in `connect`, and
    computes in `forward`; the mathematics lives in a pure function beside it. All losses share one
    convention: mean over the batch, KL in nats, times temperature squared where softened logits
    are compared, computed in float32, or float64 where that is given.

    Attributes:
        uses_teacher: False for a loss that reads labels alone. The control is trained with plain
            cross-entropy, whatever the terms are.
        reads_labels: the value depends on the labels of the batch.
        zero_at_match: the value is 0 when student and teacher agree; the contract test checks it.
        order_matters: the value depends on the order of samples, or on draws of its own.
        full_gradient: the gradient is that of the value; False where a factor of it, such as a
            weight of samples, follows the student but is held constant.
        descends: what it trains itself lowers the value; False where it follows another aim.
        aligns_tokens: place n of a text of the student is compared with place n of the teacher.
    """

    uses_teacher: ClassVar[bool] = True
    reads_labels: ClassVar[bool] = False
    zero_at_match: ClassVar[bool] = True
    order_matters: ClassVar[bool] = False
    full_gradient: ClassVar[bool] = True
    descends: ClassVar[bool] = True
    aligns_tokens: ClassVar[bool] = False

    def __init__(self, weight: float) -> None:
        super().__init__()
        if not weight >= 0:
            raise ValueError(f"weight: must be >= 0, got {weight}.")
        self.weight = weight

    def __call__(self, batch: DistillBatch) -> Tensor:
        """Return the value of `forward`, computed in full precision."""
        with full_precision():
            value: Tensor = super().__call__(batch)
        return value

    @property
    def needs(self) -> Needs:
        """The taps this loss reads; none unless overridden."""
        return Needs()

    def see_student(
        self, student: nn.Module, taps: Sequence[str], classifier: nn.Linear | None
    ) -> None:
        """Take from the untrained student what shapes do not tell; first of all. Default: nothing.

        Args:
            student: it is not the term's: what the term trains is a copy or a part of its own.
            taps: of the student where none are named, from shallow to deep.
            classifier: the layer of the student that gives the logits; None where it has none.
        """

    def connect(
        self, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...], num_samples: int
    ) -> None:
        """Build regressors, embeddings or memory banks, once shapes are known. Default: nothing.

        Args:
            student_shapes: tap -> shape, batch axis included.
            teacher_shapes: the same for every teacher.
            num_samples: N of the training split.
        """

    def extra_inputs(self, inputs: Tensor) -> Tensor | None:
        """Return further inputs that student and teachers are asked about in every step.

        Their answers are in `DistillBatch.extra`; they are never cached. Default: none.

        Args:
            inputs: (B, ...) of the step.
        """
        return None

    @abstractmethod
    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted value, a scalar with gradient to the student alone."""
