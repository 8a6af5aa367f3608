"""Fully connected network: the teacher and student of the first distillation experiments."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from distill_lab.models.checks import require, require_dropout, require_widths


class MLP(nn.Module):
    """Flattened input, ReLU hidden layers with dropout, linear logits.

    Source: Hinton et al. 2015, arXiv:1503.02531, section 3; dropout and max-norm as in
    Srivastava et al. 2014, JMLR 15, section 5.1, and Hinton et al. 2012, arXiv:1207.0580.

    Args:
        input_shape: shape of one input, any number of axes; flattened.
        num_classes: K.
        widths: units of each hidden layer, input to output.
        dropout: probability in [0, 1) that a hidden unit is dropped.
        input_dropout: probability in [0, 1) that an input is dropped.
        max_norm: > 0, upper limit of the L2 norm of each hidden unit's incoming weights; None for
            no limit. `constrain` applies it.

    Raises:
        ValueError: a knob is out of range.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        num_classes: int,
        widths: list[int],
        dropout: float,
        input_dropout: float,
        max_norm: float | None,
    ) -> None:
        super().__init__()
        require_widths("widths", widths)
        require_dropout("dropout", dropout)
        require_dropout("input_dropout", input_dropout)
        require("max_norm", max_norm, "> 0 or null", max_norm is None or max_norm > 0)
        self.max_norm = max_norm
        self.input_dropout = nn.Dropout(input_dropout)
        fan_ins = [math.prod(input_shape), *widths[:-1]]
        self.hidden = nn.ModuleList(
            nn.Sequential(nn.Linear(fan_in, width), nn.ReLU())
            for fan_in, width in zip(fan_ins, widths, strict=True)
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(widths[-1], num_classes)
        self.taps = [f"hidden.{number}" for number in range(len(widths))]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of inputs (B, ...)."""
        units = self.input_dropout(inputs.flatten(1))
        for layer in self.hidden:
            units = self.dropout(layer(units))
        logits: Tensor = self.classifier(units)
        return logits

    @torch.no_grad()
    def constrain(self) -> None:
        """Scale incoming weights longer than `max_norm` down to it, in place.

        Training calls this after every optimizer step, on any network that has the method. Biases
        and the logits layer are left alone: the papers limit hidden units.
        """
        if self.max_norm is None:
            return
        for parameter in self.hidden.parameters():
            is_weight = parameter.ndim == 2
            if is_weight:
                parameter.renorm_(p=2, dim=0, maxnorm=self.max_norm)
