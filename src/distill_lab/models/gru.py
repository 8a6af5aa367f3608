"""A recurrent network for sound: it reads a picture column by column."""

from __future__ import annotations

from torch import Tensor, nn

from distill_lab.models.checks import require, require_dropout, require_image


class GRU(nn.Module):
    """Layer norm, gated recurrent units over the frames, the mean of their states, linear.

    Source: Cho et al. 2014, arXiv:1406.1078; for spoken words Zhang et al. 2017, arXiv:1711.07128,
    section 3.4, who take the last state.

    Args:
        input_shape: (C, H, W) of one input: bands and frames; all H bands of a frame are one step.
        num_classes: K.
        hidden: width of the states, >= 1.
        num_layers: >= 1.
        dropout: between layers and before the logits, in [0, 1).

    Raises:
        ValueError: a knob is out of range.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        num_classes: int,
        hidden: int,
        num_layers: int,
        dropout: float,
    ) -> None:
        super().__init__()
        require_image(input_shape)
        require("hidden", hidden, ">= 1", hidden >= 1)
        require("num_layers", num_layers, ">= 1", num_layers >= 1)
        require_dropout("dropout", dropout)
        channels, bands, _ = input_shape
        between = dropout if num_layers > 1 else 0.0
        self.norm = nn.LayerNorm(channels * bands)
        self.recurrent = nn.GRU(
            channels * bands, hidden, num_layers, batch_first=True, dropout=between
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden, num_classes)
        self.taps = ["recurrent"]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of inputs (B, C, H, W)."""
        frames = self.norm(inputs.flatten(1, 2).transpose(1, 2))  # (B, W, C H)
        states, _ = self.recurrent(frames)
        logits: Tensor = self.classifier(self.dropout(states.mean(1)))
        return logits
