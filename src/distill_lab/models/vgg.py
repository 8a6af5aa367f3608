"""VGG with batch norm for small images."""

from __future__ import annotations

from torch import Tensor, nn

from distill_lab.models.checks import require, require_image, require_widths
from distill_lab.models.layers import he_conv

_NUM_STAGES = 5
_NUM_POOLED = 3  # stages that are followed by a max-pooling
_MIN_SIDE = 2**_NUM_POOLED


class VGG(nn.Module):
    """Five stages of 3x3 convolutions, global average pooling, linear logits.

    Source: Simonyan and Zisserman 2015, arXiv:1409.1556, with batch norm and without the hidden
    linear layers, as in RepDistiller (Tian et al. 2020, arXiv:1910.10699), whose parameter counts
    this matches: the first three stages are followed by a 2x2 max-pooling, the last two are not.

    Args:
        input_shape: (C, H, W) of one input, H and W >= 8 pixels.
        num_classes: K.
        widths: channels of each stage.
        num_convolutions: of each stage.

    Raises:
        ValueError: a knob is out of range, or the input is too small.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        num_classes: int,
        widths: list[int],
        num_convolutions: list[int],
    ) -> None:
        super().__init__()
        _require_stages("widths", widths)
        _require_stages("num_convolutions", num_convolutions)
        require_image(input_shape)
        big_enough = min(input_shape[1:]) >= _MIN_SIDE
        require("input_shape", input_shape, f"(C, H, W), H and W >= {_MIN_SIDE}", big_enough)
        fan_ins = [input_shape[0], *widths]
        stages = [
            _stage(*numbers) for numbers in zip(fan_ins, widths, num_convolutions, strict=False)
        ]
        self.layer1, self.layer2, self.layer3, self.layer4, self.layer5 = stages
        self.halve = nn.MaxPool2d(2)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(widths[-1], num_classes)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)
        self.taps = ["layer1", "layer2", "layer3", "layer4", "layer5", "pool"]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of inputs (B, C, H, W)."""
        maps = inputs
        for stage in (self.layer1, self.layer2, self.layer3):
            maps = self.halve(stage(maps))
        logits: Tensor = self.classifier(self.pool(self.layer5(self.layer4(maps))))
        return logits


def _stage(fan_in: int, width: int, num_convolutions: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (fan_in, *[width] * (num_convolutions - 1)):
        layers += [he_conv(channels, width, 3, bias=True), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers)


def _require_stages(name: str, values: list[int]) -> None:
    require_widths(name, values)
    require(name, values, f"a list of {_NUM_STAGES} integers", len(values) == _NUM_STAGES)
