"""MobileNetV1, the small student of the field's ImageNet tables."""

from __future__ import annotations

from torch import Tensor, nn

from distill_lab.models.checks import require, require_image
from distill_lab.models.layers import he_conv

_STEM = 32  # channels of the stem at full width
_STAGES = (  # (channels at full width, stride) of each block; Howard et al. 2017, table 1
    ((64, 1),),
    ((128, 2), (128, 1)),
    ((256, 2), (256, 1)),
    ((512, 2), *[(512, 1)] * 5),
    ((1024, 2), (1024, 1)),
)


class MobileNetV1(nn.Module):
    """Stem with stride 2, five stages of depthwise separable blocks, pooling, linear logits.

    Source: Howard et al. 2017, arXiv:1704.04861, table 1, where it has 4.2 million parameters and
    569 million multiply-accumulates for (3, 224, 224) and 1000 classes. The last block's stride of
    2 in that table is 1, as the sizes beside it say.

    Args:
        input_shape: (C, H, W) of one input.
        num_classes: K.
        width_multiplier: > 0, of all channels.

    Raises:
        ValueError: a knob is out of range.
    """

    def __init__(
        self, *, input_shape: tuple[int, ...], num_classes: int, width_multiplier: float
    ) -> None:
        super().__init__()
        wide_enough = int(_STEM * width_multiplier) >= 1
        require("width_multiplier", width_multiplier, "at least one channel", wide_enough)
        require_image(input_shape)
        width = int(_STEM * width_multiplier)
        self.stem = nn.Sequential(*_conv(input_shape[0], width, 3, stride=2))
        stages: list[nn.Module] = []
        for stage in _STAGES:
            blocks: list[nn.Module] = []
            for channels, stride in stage:
                fan_in, width = width, int(channels * width_multiplier)
                blocks += _conv(fan_in, fan_in, 3, stride, groups=fan_in)
                blocks += _conv(fan_in, width, 1)
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4, self.layer5 = stages
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(width, num_classes)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)
        self.taps = ["stem", "layer1", "layer2", "layer3", "layer4", "layer5", "pool"]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of inputs (B, C, H, W)."""
        maps = self.layer3(self.layer2(self.layer1(self.stem(inputs))))
        logits: Tensor = self.classifier(self.pool(self.layer5(self.layer4(maps))))
        return logits


def _conv(
    fan_in: int, width: int, kernel_size: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    conv = he_conv(fan_in, width, kernel_size, stride, groups)
    return [conv, nn.BatchNorm2d(width), nn.ReLU()]
