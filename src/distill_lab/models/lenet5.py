"""LeNet-5, the network of many a study on MNIST."""

from __future__ import annotations

from torch import Tensor, nn

from distill_lab.models.checks import require_image

_SIDE = 32  # pixels, to which smaller images are padded with zeros


class LeNet5(nn.Module):
    """Two 5x5 convolutions, each pooled, and three linear layers.

    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", figure 2,
    as it is written today: ReLU, max-pooling, every map of the second convolution from every map of
    the first, a linear layer at the end. Images are padded to 32 x 32, as there; larger ones stay.
    For 10 classes and one channel it has 61,706 parameters.

    Args:
        input_shape: (C, H, W) of one input.
        num_classes: K.

    Raises:
        ValueError: the input is no image.
    """

    def __init__(self, *, input_shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        require_image(input_shape)
        channels, height, width = input_shape
        rows, columns = max(0, _SIDE - height), max(0, _SIDE - width)
        around = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
        self.block1 = nn.Sequential(
            nn.ZeroPad2d(around), nn.Conv2d(channels, 6, 5), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.block2 = nn.Sequential(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2))
        maps = [((max(side, _SIDE) - 4) // 2 - 4) // 2 for side in (height, width)]
        self.hidden1 = nn.Sequential(
            nn.Flatten(), nn.Linear(16 * maps[0] * maps[1], 120), nn.ReLU()
        )
        self.hidden2 = nn.Sequential(nn.Linear(120, 84), nn.ReLU())
        self.classifier = nn.Linear(84, num_classes)
        self.taps = ["block1", "block2", "hidden1", "hidden2"]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of inputs (B, C, H, W)."""
        hidden = self.hidden2(self.hidden1(self.block2(self.block1(inputs))))
        logits: Tensor = self.classifier(hidden)
        return logits
