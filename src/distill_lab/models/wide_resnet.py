"""Wide residual networks for small images, the other family of most papers on distillation."""

from __future__ import annotations

from torch import Tensor, nn

from distill_lab.models.checks import require, require_image
from distill_lab.models.layers import he_conv

_MIN_SIDE = 4  # pixels; two stages halve the map


class WideResNet(nn.Module):
    """3x3 stem, three stages of pre-activation blocks, global average pooling, linear logits.

    Source: Zagoruyko and Komodakis 2016, arXiv:1605.07146, without dropout. Parameter counts are
    those of RepDistiller (Tian et al. 2020, arXiv:1910.10699). A network wrn_d_k has depth d and
    widen factor k.

    A block of this design ends in a sum and leaves batch norm and ReLU to what follows. Here a
    stage ends with those that the next one would begin with: the computation is the same, and
    `layer1` to `layer3` are read after an activation and, as `layer1:preactivation`, before it.
    The bare sums are the outputs of the blocks, `layer1.<n - 1>`; `stem` has no activation.

    Args:
        input_shape: (C, H, W) of one input, H and W >= 4 pixels.
        num_classes: K.
        depth: layers on the main path, 6n + 4 with n blocks in each stage: 10, 16, 22, 28, 34, ...
        widen_factor: channels of the first stage, as a multiple of `base_width`; the other two have
            twice and four times as many.
        base_width: channels of the stem.

    Raises:
        ValueError: a knob is out of range, or the input is too small.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        num_classes: int,
        depth: int,
        widen_factor: int,
        base_width: int,
    ) -> None:
        super().__init__()
        _require_depth(depth)
        require("widen_factor", widen_factor, ">= 1", widen_factor >= 1)
        require("base_width", base_width, ">= 1", base_width >= 1)
        require_image(input_shape)
        big_enough = min(input_shape[1:]) >= _MIN_SIDE
        require("input_shape", input_shape, f"(C, H, W), H and W >= {_MIN_SIDE}", big_enough)
        num_blocks = (depth - 4) // 6
        width = base_width * widen_factor
        self.stem = he_conv(input_shape[0], base_width, 3)
        first = PreActivationBlock(base_width, width, stride=1)
        self.layer1 = _stage(first, width, num_blocks)
        first = PreActivationBlock(width, 2 * width, stride=2, activated=True)
        self.layer2 = _stage(first, 2 * width, num_blocks)
        first = PreActivationBlock(2 * width, 4 * width, stride=2, activated=True)
        self.layer3 = _stage(first, 4 * width, num_blocks)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(4 * width, num_classes)
        self.taps = ["stem", "layer1", "layer2", "layer3", "pool"]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of inputs (B, C, H, W)."""
        maps = self.layer3(self.layer2(self.layer1(self.stem(inputs))))
        logits: Tensor = self.classifier(self.pool(maps))
        return logits


class PreActivationBlock(nn.Module):
    """Batch norm and ReLU before each of two 3x3 convolutions, beside a shortcut; nothing after.

    Where it changes shape, the shortcut is a 1x1 convolution of the activated maps.

    Args:
        fan_in: input channels.
        width: output channels.
        stride: of the first convolution and of the shortcut, in pixels.
        activated: whether the maps come through batch norm and ReLU already; only a block that
            changes shape can do without the bare ones.
    """

    def __init__(self, fan_in: int, width: int, stride: int, activated: bool = False) -> None:
        super().__init__()
        self.activation = nn.Identity() if activated else _norm_relu(fan_in)
        self.residual = nn.Sequential(
            he_conv(fan_in, width, 3, stride), _norm_relu(width), he_conv(width, width, 3)
        )
        self.same_shape = stride == 1 and fan_in == width
        self.shortcut = nn.Identity() if self.same_shape else he_conv(fan_in, width, 1, stride)

    def forward(self, maps: Tensor) -> Tensor:
        """Return (B, width, H / stride, W / stride) of maps (B, fan_in, H, W)."""
        activated = self.activation(maps)
        beside: Tensor = self.shortcut(maps if self.same_shape else activated)
        return self.residual(activated) + beside


def _stage(first: PreActivationBlock, width: int, num_blocks: int) -> nn.Sequential:
    rest = [PreActivationBlock(width, width, stride=1) for _ in range(num_blocks - 1)]
    return nn.Sequential(first, *rest, _norm_relu(width))


def _norm_relu(width: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(width), nn.ReLU())


def _require_depth(depth: int) -> None:
    if depth >= 10 and depth % 6 == 4:
        return
    below = max(10, depth - (depth - 4) % 6)
    nearest = "10" if depth < 10 else f"{below} and {below + 6}"
    raise ValueError(
        f"depth: must be 6n + 4 (10, 16, 22, 40, ...), got {depth}. Nearest: {nearest}."
    )
