"""ShuffleNet for small images, a student of many papers on distillation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill_lab.models.checks import require, require_image, require_widths

_STEM = 24  # channels of the stem
_NUM_BLOCKS = (4, 8, 4)  # of the three stages
_BOTTLENECK = 4  # a block's hidden channels are its output's by this


class ShuffleNetV1(nn.Module):
    """1x1 stem, three stages of shuffled grouped convolutions, pooling, linear logits.

    Source: Zhang et al. 2018, arXiv:1707.01083, as RepDistiller (Tian et al. 2020,
    arXiv:1910.10699) has it for 32x32 images, whose parameter counts this matches: the stem keeps
    the resolution, there is no max-pooling, and the 3x3 convolution is followed by a ReLU.

    Args:
        input_shape: (C, H, W) of one input.
        num_classes: K.
        widths: channels of the three stages, growing multiples of 4 `groups` above 24.
        groups: of the 1x1 convolutions, 1, 2, 3 or 6; the first of all is not grouped.

    Raises:
        ValueError: a knob is out of range.
    """

    def __init__(
        self, *, input_shape: tuple[int, ...], num_classes: int, widths: list[int], groups: int
    ) -> None:
        super().__init__()
        _require_widths(widths, groups)
        require_image(input_shape)
        stem = nn.Conv2d(input_shape[0], _STEM, 1, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(_STEM), nn.ReLU())
        self.layer1 = _stage(_STEM, widths[0], _NUM_BLOCKS[0], groups, first_groups=1)
        self.layer2 = _stage(widths[0], widths[1], _NUM_BLOCKS[1], groups)
        self.layer3 = _stage(widths[1], widths[2], _NUM_BLOCKS[2], groups)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(widths[2], num_classes)
        self.taps = ["stem", "layer1", "layer2", "layer3", "pool"]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of inputs (B, C, H, W)."""
        maps = self.layer3(self.layer2(self.layer1(self.stem(inputs))))
        logits: Tensor = self.classifier(self.pool(maps))
        return logits


class ShuffleBlock(nn.Module):
    """Grouped 1x1, shuffle, 3x3 of each channel alone, grouped 1x1; ReLU after the shortcut.

    With stride 1 the input is added; with stride 2 it is averaged and its channels are appended.

    Args:
        fan_in: input channels.
        width: output channels, those of the input included.
        stride: 1 or 2 pixels.
        groups: of the second 1x1 convolution.
        first_groups: of the first one.
    """

    def __init__(
        self, fan_in: int, width: int, stride: int, groups: int, first_groups: int
    ) -> None:
        super().__init__()
        added = width - fan_in if stride == 2 else width
        hidden = added // _BOTTLENECK
        self.residual = nn.Sequential(
            nn.Conv2d(fan_in, hidden, 1, groups=first_groups, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.ChannelShuffle(first_groups),
            nn.Conv2d(hidden, hidden, 3, stride, padding=1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, added, 1, groups=groups, bias=False),
            nn.BatchNorm2d(added),
        )
        self.shortcut = nn.AvgPool2d(3, stride=2, padding=1) if stride == 2 else nn.Identity()
        self.appends = stride == 2
        self.relu = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        """Return (B, width, H / stride, W / stride) of maps (B, fan_in, H, W)."""
        residual, beside = self.residual(maps), self.shortcut(maps)
        joined = torch.cat([residual, beside], dim=1) if self.appends else residual + beside
        activated: Tensor = self.relu(joined)
        return activated


def _stage(
    fan_in: int, width: int, num_blocks: int, groups: int, first_groups: int | None = None
) -> nn.Sequential:
    first = ShuffleBlock(fan_in, width, 2, groups, first_groups or groups)
    rest = [ShuffleBlock(width, width, 1, groups, groups) for _ in range(num_blocks - 1)]
    return nn.Sequential(first, *rest)


def _require_widths(widths: list[int], groups: int) -> None:
    require("groups", groups, "a divisor of 6", groups >= 1 and _STEM // _BOTTLENECK % groups == 0)
    require_widths("widths", widths)
    unit = _BOTTLENECK * groups
    fits = len(widths) == len(_NUM_BLOCKS) and not any(width % unit for width in widths)
    growing = all(width > before for before, width in zip([_STEM, *widths], widths, strict=False))
    rule = f"{len(_NUM_BLOCKS)} growing multiples of 4 * groups = {unit} above {_STEM}"
    require("widths", widths, rule, fits and growing)
