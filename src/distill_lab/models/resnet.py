"""ResNets of ImageNet, also with a stem for small images."""

from __future__ import annotations

from torch import nn
from torchvision.models import resnet

from distill_lab.models.checks import require, require_image
from distill_lab.models.layers import he_conv

_BLOCKS = {  # of the four stages; He et al. 2016, table 1
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
_FIRST_BOTTLENECK = 50  # depth from which blocks have three convolutions


class ResNet(resnet.ResNet):
    """torchvision's network with the taps of this package.

    Source: He et al. 2016, arXiv:1512.03385, table 1; in a bottleneck the 3x3 convolution has the
    stride. For small images the stem is a 3x3 convolution with stride 1 and there is no
    max-pooling, as in RepDistiller (Tian et al. 2020, arXiv:1910.10699), whose parameter counts
    this matches.

    Args:
        input_shape: (C, H, W) of one input.
        num_classes: K.
        depth: 18, 34, 50, 101 or 152.
        small_images: whether the stem keeps the resolution.

    Raises:
        ValueError: a knob is out of range.
    """

    def __init__(
        self, *, input_shape: tuple[int, ...], num_classes: int, depth: int, small_images: bool
    ) -> None:
        require("depth", depth, f"one of {', '.join(map(str, _BLOCKS))}", depth in _BLOCKS)
        require_image(input_shape)
        block = resnet.BasicBlock if depth < _FIRST_BOTTLENECK else resnet.Bottleneck
        super().__init__(block, list(_BLOCKS[depth]), num_classes=num_classes)
        kernel_size, stride = (3, 1) if small_images else (7, 2)
        self.conv1 = he_conv(input_shape[0], 64, kernel_size, stride)
        if small_images:
            self.maxpool = nn.Identity()
        self.avgpool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.taps = ["relu", "layer1", "layer2", "layer3", "layer4", "avgpool"]
