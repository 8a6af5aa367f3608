"""ShuffleNetV2 for small images, a student of many papers on distillation."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models import shufflenetv2

from distill_lab.models.checks import require, require_image, require_widths

_STEM = 24  # channels of the stem
_NUM_BLOCKS = (4, 8, 4)  # of the three stages
_NUM_WIDTHS = 4  # the stages' and the head's


class ShuffleNetV2(shufflenetv2.ShuffleNetV2):
    """torchvision's network with a 1x1 stem, no max-pooling, and the taps of this package.

    Source: Ma et al. 2018, arXiv:1807.11164, as RepDistiller (Tian et al. 2020, arXiv:1910.10699)
    has it for 32x32 images, whose parameter counts this matches.

    Args:
        input_shape: (C, H, W) of one input.
        num_classes: K.
        widths: channels of the three stages, even, and of the 1x1 head.

    Raises:
        ValueError: a knob is out of range.
    """

    def __init__(
        self, *, input_shape: tuple[int, ...], num_classes: int, widths: list[int]
    ) -> None:
        _require_stages(widths)
        require_image(input_shape)
        super().__init__(list(_NUM_BLOCKS), [_STEM, *widths], num_classes=num_classes)
        stem = nn.Conv2d(input_shape[0], _STEM, 1, bias=False)
        self.conv1 = nn.Sequential(stem, nn.BatchNorm2d(_STEM), nn.ReLU())
        del self.maxpool
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.taps = ["conv1", "stage2", "stage3", "stage4", "pool"]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of inputs (B, C, H, W)."""
        maps = self.stage4(self.stage3(self.stage2(self.conv1(inputs))))
        logits: Tensor = self.fc(self.pool(self.conv5(maps)))
        return logits


def _require_stages(widths: list[int]) -> None:
    require_widths("widths", widths)
    even = len(widths) == _NUM_WIDTHS and not any(width % 2 for width in widths[:-1])
    require("widths", widths, f"a list of {_NUM_WIDTHS} integers, all but the last even", even)
