"""Distillation at a temperature that is learned against the student."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_lab.contracts import DistillBatch, Shapes
from distill_lab.losses.base import Loss
from distill_lab.losses.checks import require_same_classes
from distill_lab.losses.divergence import kl_divergence
from distill_lab.losses.precision import wide

FIRST_PARAMETER = 1.0  # before the sigmoid, as in the published code
HIDDEN_WIDTH = 32


def ctkd(student_logits: Tensor, teacher_logits: Tensor, temperature: Tensor) -> Tensor:
    """KL(teacher || student) at a given temperature, times its square, sample by sample.

    Source: Li et al. 2023, arXiv:2211.16231; code base zhengli97/CTKD. The code multiplies the mean
    over B by the square, which is right for one temperature alone; here every sample is multiplied
    by its own.

    Args:
        student_logits: (B, K), any float dtype; computed in float32.
        teacher_logits: (B, K), treated as a constant.
        temperature: scalar, (B,) or (B, 1), no unit; has to be > 0, which is not checked, since a
            GPU would wait for it. It receives a gradient.

    Returns:
        Scalar in nats, mean over B; zero iff the softened outputs agree.

    Raises:
        ValueError: the shapes of the logits differ, or there is neither one temperature nor B.
    """
    require_same_classes("ctkd", student_logits, teacher_logits)
    if temperature.numel() not in (1, len(student_logits)):
        raise ValueError(
            f"ctkd: temperature must be one value or one per sample, got "
            f"{tuple(temperature.shape)} for {len(student_logits)} samples."
        )
    of_sample = wide(temperature).reshape(-1, 1)
    student = F.log_softmax(wide(student_logits) / of_sample, dim=1)
    teacher = F.log_softmax(wide(teacher_logits.detach()) / of_sample, dim=1)
    return (kl_divergence(student, teacher) * of_sample.square()[:, 0]).mean()


class GradientReversal(torch.autograd.Function):
    """The identity, whose gradient is multiplied by -scale.

    The published code multiplies by a number that it lets run from 0 to -1; here the sign is in
    the function and the scale is positive.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor, scale: float) -> Tensor:
        """Return the value."""
        ctx.scale = scale
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Return the reversed gradient of the value, and none of the scale."""
        return -ctx.scale * gradients[0], None


class LogitReader(nn.Module):
    """Makes one number per sample of the logits of both networks; 0 at first.

    The number of classes is not known before the first batch, so the weights are shared by all
    classes, whose hidden units are averaged; the paper's perceptron has 2K inputs. A constant added
    to a sample's logits does not matter. The logits are constants to it: the student is not
    rewarded for moving the temperature.
    """

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(2, HIDDEN_WIDTH)
        self.last = nn.Linear(HIDDEN_WIDTH, 1, bias=False)
        nn.init.zeros_(self.last.weight)

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Return (B, 1) of logits (B, K)."""
        both = torch.stack([wide(student_logits), wide(teacher_logits)], dim=2).detach()
        centred = both - both.mean(dim=1, keepdim=True)
        return wide(self.last(F.relu(self.hidden(centred)).mean(dim=1)))


class CTKD(Loss):
    """`ctkd` as a term, with a temperature that is trained to make the term large.

    The temperature is start + span * sigmoid(parameter), or with scope "sample" start + span *
    sigmoid(parameter + `LogitReader`). The gradient to what makes it is reversed and scaled by a
    cosine from 0 to 1 (by fractions of an epoch; the published code by whole ones). It is trained
    by the student's optimizer, weight decay included, as published. `temperature` of the config is
    ignored. With several teachers: the mean over them, all with the same parameters.

    Args:
        weight: of the term, >= 0.
        scope: one temperature for all samples, or one for each.
        temperature_start: the lowest temperature, > 0.
        temperature_span: how far above it a temperature can get, > 0.
        ramp_epochs: > 0, until the reversed gradient counts in full.
    """

    descends: ClassVar[bool] = False

    def __init__(
        self,
        weight: float,
        scope: Literal["global", "sample"],
        temperature_start: float,
        temperature_span: float,
        ramp_epochs: float,
    ) -> None:
        super().__init__(weight)
        if scope not in ("global", "sample"):
            raise ValueError(f"scope: must be global or sample, got {scope!r}.")
        if not temperature_start > 0:
            raise ValueError(f"temperature_start: must be > 0, got {temperature_start}.")
        if not temperature_span > 0:
            raise ValueError(f"temperature_span: must be > 0, got {temperature_span}.")
        if not ramp_epochs > 0:
            raise ValueError(f"ramp_epochs: must be > 0, got {ramp_epochs}.")
        self.scope = scope
        self.temperature_start = temperature_start
        self.temperature_span = temperature_span
        self.ramp_epochs = ramp_epochs

    def connect(
        self, student_shapes: Shapes, teacher_shapes: tuple[Shapes, ...], num_samples: int
    ) -> None:
        """Make the parameter, and with scope "sample" the reader of logits."""
        self.parameter = nn.Parameter(torch.tensor(FIRST_PARAMETER))
        self.reader = LogitReader() if self.scope == "sample" else None

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted divergence from the teacher(s)."""
        student = batch.student.logits
        values = [
            ctkd(student, teacher.logits, self.temperature(student, teacher.logits, batch.epoch))
            for teacher in batch.teachers
        ]
        return torch.stack(values).mean()

    def temperature(self, student_logits: Tensor, teacher_logits: Tensor, epoch: float) -> Tensor:
        """Return the temperature: a scalar, or (B, 1) with scope "sample"."""
        raw: Tensor = self.parameter
        if self.reader is not None:
            raw = raw + self.reader(student_logits, teacher_logits)
        reversed_raw = GradientReversal.apply(raw, ramp(epoch, self.ramp_epochs))
        return self.temperature_start + self.temperature_span * torch.sigmoid(reversed_raw)


def ramp(epoch: float, ramp_epochs: float) -> float:
    """Return the scale of the reversed gradient: a half cosine from 0 to 1, then 1.

    >>> [round(ramp(epoch, 10), 3) for epoch in (0.0, 5.0, 10.0, 50.0)]
    [0.0, 0.5, 1.0, 1.0]
    """
    return (1 - math.cos(math.pi * min(epoch / ramp_epochs, 1.0))) / 2
