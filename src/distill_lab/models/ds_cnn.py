"""A small network for sound on small devices: depthwise separable convolutions."""

from __future__ import annotations

from torch import Tensor, nn

from distill_lab.models.checks import require, require_dropout, require_image


class DSCNN(nn.Module):
    """A convolution, depthwise separable ones, the mean over the picture, linear.

    Source: Zhang et al. 2017, "Hello Edge", arXiv:1711.07128, section 3.5; its small network has 4
    blocks of 64 channels. Every convolution is followed by batch norm and ReLU.

    Args:
        input_shape: (C, H, W) of one input: bands and frames.
        num_classes: K.
        channels: of every convolution, >= 1.
        depth: number of separable blocks, >= 1.
        dropout: before the logits, in [0, 1).

    Raises:
        ValueError: a knob is out of range.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        num_classes: int,
        channels: int,
        depth: int,
        dropout: float,
    ) -> None:
        super().__init__()
        require_image(input_shape)
        require("channels", channels, ">= 1", channels >= 1)
        require("depth", depth, ">= 1", depth >= 1)
        require_dropout("dropout", dropout)
        # 4 bands by 10 frames, there 10 frames by 4 bands: pictures lie the other way.
        first = nn.Conv2d(input_shape[0], channels, (4, 10), 2, padding=(2, 5), bias=False)
        self.first = nn.Sequential(first, nn.BatchNorm2d(channels), nn.ReLU())
        self.blocks = nn.Sequential(*(_block(channels) for _ in range(depth)))
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout))
        self.classifier = nn.Linear(channels, num_classes)
        self.taps = ["first", *(f"blocks.{number}" for number in range(depth)), "pooled"]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of inputs (B, C, H, W)."""
        logits: Tensor = self.classifier(self.pooled(self.blocks(self.first(inputs))))
        return logits


def _block(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )
