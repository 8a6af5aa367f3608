"""MobileNetV2 for small images, a student of many papers on distillation."""

from __future__ import annotations

from torch import Tensor, nn

from distill_lab.models.checks import require, require_image
from distill_lab.models.layers import he_conv

_STEM = 32  # channels of the stem at full width
_STAGES = (  # channels at full width, blocks, stride of the first; Sandler et al. 2018, table 2
    ((16, 1, 1), (24, 2, 1)),
    ((32, 3, 2),),
    ((64, 4, 2), (96, 3, 1)),
    ((160, 3, 2), (320, 1, 1)),
)
_HEAD = 1280  # channels before pooling, at full width and below


class MobileNetV2(nn.Module):
    """Stem with stride 2, four stages of inverted residuals, 1x1 head, pooling, linear logits.

    Source: Sandler et al. 2018, arXiv:1801.04381, as RepDistiller (Tian et al. 2020,
    arXiv:1910.10699) has it for 32x32 images, whose parameter counts this matches: the first block
    expands by 1 with a convolution of its own, the second group keeps its resolution, and the
    activations are ReLU. A block ends in no activation, so neither does a stage.

    Args:
        input_shape: (C, H, W) of one input.
        num_classes: K.
        width_multiplier: > 0, of the channels of stem and stages.
        expansion: >= 1, hidden channels of a block as a multiple of its inputs.

    Raises:
        ValueError: a knob is out of range.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        num_classes: int,
        width_multiplier: float,
        expansion: int,
    ) -> None:
        super().__init__()
        wide_enough = int(_STAGES[0][0][0] * width_multiplier) >= 1
        require("width_multiplier", width_multiplier, "at least one channel", wide_enough)
        require("expansion", expansion, ">= 1", expansion >= 1)
        require_image(input_shape)
        width = int(_STEM * width_multiplier)
        self.stem = nn.Sequential(*_conv(input_shape[0], width, 3, stride=2), nn.ReLU())
        stages: list[nn.Module] = []
        for groups in _STAGES:
            blocks: list[nn.Module] = []
            for channels, num_blocks, stride in groups:
                for number in range(num_blocks):
                    fan_in, width = width, int(channels * width_multiplier)
                    is_first = not stages and not blocks
                    factor = 1 if is_first else expansion
                    blocks.append(InvertedResidual(fan_in, width, 1 if number else stride, factor))
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        last = int(_HEAD * max(1.0, width_multiplier))
        self.head = nn.Sequential(*_conv(width, last, 1), nn.ReLU())
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(last, num_classes)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)
        self.taps = ["stem", "layer1", "layer2", "layer3", "layer4", "pool"]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of inputs (B, C, H, W)."""
        maps = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(inputs)))))
        logits: Tensor = self.classifier(self.pool(self.head(maps)))
        return logits


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 convolution of each channel alone, 1x1 projection without activation.

    Args:
        fan_in: input channels.
        width: output channels; where they are as many and the stride is 1, the input is added.
        stride: of the 3x3 convolution, in pixels.
        expansion: hidden channels as a multiple of `fan_in`.
    """

    def __init__(self, fan_in: int, width: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = fan_in * expansion
        self.adds = stride == 1 and fan_in == width
        self.residual = nn.Sequential(
            *_conv(fan_in, hidden, 1),
            nn.ReLU(),
            *_conv(hidden, hidden, 3, stride, groups=hidden),
            nn.ReLU(),
            *_conv(hidden, width, 1),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Return (B, width, H / stride, W / stride) of maps (B, fan_in, H, W)."""
        projected: Tensor = self.residual(maps)
        return maps + projected if self.adds else projected


def _conv(
    fan_in: int, width: int, kernel_size: int, stride: int = 1, groups: int = 1
) -> tuple[nn.Module, nn.Module]:
    return he_conv(fan_in, width, kernel_size, stride, groups), nn.BatchNorm2d(width)
