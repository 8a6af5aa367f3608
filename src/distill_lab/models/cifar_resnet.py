"""Residual networks for small images, as used by most papers on distillation."""

from __future__ import annotations

from torch import Tensor, nn

from distill_lab.models.checks import require, require_image
from distill_lab.models.layers import he_conv

_MIN_SIDE = 4  # pixels; two stages halve the map


class CifarResNet(nn.Module):
    """3x3 stem, three stages of basic blocks, global average pooling, linear logits.

    Source: He et al. 2016, arXiv:1512.03385, section 4.2. Where a shortcut changes shape it is a
    1x1 convolution with batch norm (option B), as in RepDistiller (Tian et al. 2020,
    arXiv:1910.10699), whose parameter counts this matches; He et al. pad with zeros there.

    Args:
        input_shape: (C, H, W) of one input, H and W >= 4 pixels.
        num_classes: K.
        depth: weighted layers on the main path, 6n + 2: 8, 14, 20, 26, 32, ...
        stem_width: channels of the stem.
        width: channels of the first stage; the other two have twice and four times as many.

    Raises:
        ValueError: a knob is out of range, or the input is too small.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        num_classes: int,
        depth: int,
        stem_width: int,
        width: int,
    ) -> None:
        super().__init__()
        _require_depth(depth)
        require("stem_width", stem_width, ">= 1", stem_width >= 1)
        require("width", width, ">= 1", width >= 1)
        require_image(input_shape)
        big_enough = min(input_shape[1:]) >= _MIN_SIDE
        require("input_shape", input_shape, f"(C, H, W), H and W >= {_MIN_SIDE}", big_enough)
        num_blocks = (depth - 2) // 6
        self.stem = nn.Sequential(_conv(input_shape[0], stem_width, 3, stride=1), nn.ReLU())
        self.layer1 = _stage(stem_width, width, num_blocks, stride=1)
        self.layer2 = _stage(width, 2 * width, num_blocks, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, num_blocks, stride=2)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(4 * width, num_classes)
        self.taps = ["stem", "layer1", "layer2", "layer3", "pool"]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of inputs (B, C, H, W)."""
        maps = self.layer3(self.layer2(self.layer1(self.stem(inputs))))
        logits: Tensor = self.classifier(self.pool(maps))
        return logits


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, ReLU after the sum.

    Args:
        fan_in: input channels.
        width: output channels.
        stride: of the first convolution and of the shortcut, in pixels.
    """

    def __init__(self, fan_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            _conv(fan_in, width, 3, stride), nn.ReLU(), _conv(width, width, 3, stride=1)
        )
        same_shape = stride == 1 and fan_in == width
        self.shortcut = nn.Identity() if same_shape else _conv(fan_in, width, 1, stride)
        self.relu = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        """Return (B, width, H / stride, W / stride) of maps (B, fan_in, H, W)."""
        activated: Tensor = self.relu(self.residual(maps) + self.shortcut(maps))
        return activated


def _stage(fan_in: int, width: int, num_blocks: int, stride: int) -> nn.Sequential:
    rest = [BasicBlock(width, width, stride=1) for _ in range(num_blocks - 1)]
    return nn.Sequential(BasicBlock(fan_in, width, stride), *rest)


def _conv(fan_in: int, width: int, kernel_size: int, stride: int) -> nn.Sequential:
    # No bias: batch norm subtracts it again.
    return nn.Sequential(he_conv(fan_in, width, kernel_size, stride), nn.BatchNorm2d(width))


def _require_depth(depth: int) -> None:
    if depth >= 8 and depth % 6 == 2:
        return
    below = max(8, depth - (depth - 2) % 6)
    nearest = "8" if depth < 8 else f"{below} and {below + 6}"
    raise ValueError(
        f"depth: must be 6n + 2 (8, 14, 20, 32, ...), got {depth}. Nearest: {nearest}."
    )
