"""Plain convolutional network, small enough to train on a laptop."""

from __future__ import annotations

from torch import Tensor, nn

from distill_lab.models.checks import require, require_dropout, require_image, require_widths


class CNN(nn.Module):
    """Blocks of conv-BN-ReLU with max-pooling between them, global average pooling, linear logits.

    Each block after the first begins by halving the map, so a block's features are read before
    the next pooling.

    Args:
        input_shape: (C, H, W) of one input.
        num_classes: K.
        channels: channels of each block, input to output.
        convs_per_block: convolutions in each block, >= 1.
        kernel_size: side of the convolutions in pixels; odd, so that padding keeps the map's size.
        dropout: probability in [0, 1) that a pooled feature is dropped before the logits.

    Raises:
        ValueError: a knob is out of range, or the input is too small to be halved that often.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        num_classes: int,
        channels: list[int],
        convs_per_block: int,
        kernel_size: int,
        dropout: float,
    ) -> None:
        super().__init__()
        require_widths("channels", channels)
        require("convs_per_block", convs_per_block, ">= 1", convs_per_block >= 1)
        require(
            "kernel_size", kernel_size, "odd and >= 1", kernel_size > 0 and kernel_size % 2 == 1
        )
        require_dropout("dropout", dropout)
        require_image(input_shape)
        _require_room(input_shape, len(channels))
        fan_ins = [input_shape[0], *channels[:-1]]
        self.blocks = nn.Sequential()
        for number, (fan_in, width) in enumerate(zip(fan_ins, channels, strict=True)):
            block = _block(fan_in, width, convs_per_block, kernel_size)
            self.blocks.append(block if number == 0 else nn.Sequential(nn.MaxPool2d(2), *block))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels[-1], num_classes)
        self.taps = [*(f"blocks.{number}" for number in range(len(channels))), "pool"]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of inputs (B, C, H, W)."""
        logits: Tensor = self.classifier(self.dropout(self.pool(self.blocks(inputs))))
        return logits


def _block(fan_in: int, width: int, convs: int, kernel_size: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number in range(convs):
        # No bias: batch norm subtracts it again.
        conv = nn.Conv2d(
            width if number else fan_in, width, kernel_size, padding=kernel_size // 2, bias=False
        )
        layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers)


def _require_room(input_shape: tuple[int, ...], num_blocks: int) -> None:
    _, height, width = input_shape
    most = min(height, width).bit_length()
    if num_blocks > most:
        raise ValueError(
            f"channels: must list at most {most} blocks for inputs of {height} x {width} pixels, "
            f"got {num_blocks}, which would halve the map {num_blocks - 1} times."
        )
