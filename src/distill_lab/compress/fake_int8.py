"""int8 as it is in a training: floats rounded to what int8 can hold, gradients as if they were not.

Weights have a scale per output channel and are symmetric, so that a batch norm folded into them
later changes the scales alone. Activations have one range per layer.
Source: Jacob et al. 2018, arXiv:1712.05877, sections 3 and 3.1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

MOST = 127  # of the symmetric int8 range; -128 is left out
SMALLEST = 1e-8  # scale of a channel that is all zeros
DECAY = 0.99  # of the moving ranges, per batch


class FakeInt8Weight(nn.Module):
    """A weight rounded to int8 with one scale for each of its first axis."""

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight (C, ...) on the grid of its channel's largest magnitude."""
        largest = weight.detach().flatten(1).abs().amax(dim=1)
        scales = (largest / MOST).clamp(min=SMALLEST)
        points = torch.zeros(len(weight), dtype=torch.int32, device=weight.device)
        rounded: Tensor = torch.fake_quantize_per_channel_affine(
            weight, scales, points, 0, -MOST, MOST
        )
        return rounded


class FakeInt8Input(nn.Module):
    """What a layer is given, rounded to int8 within a range that follows the batches.

    The range, which always holds 0, moves in train mode alone; before the first batch nothing is
    rounded. Call it as a forward pre-hook.
    """

    low: Tensor
    high: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return inputs (B, ...) on the grid of 256 steps between `low` and `high`."""
        if self.training:
            self._follow(inputs.detach())
        span = self.high - self.low
        scale = (span / 255).clamp(min=SMALLEST)
        point = (-128 - self.low / scale).round().clamp(-128, 127).to(torch.int32)
        rounded = torch.fake_quantize_per_tensor_affine(inputs.float(), scale, point, -128, 127)
        return torch.where(span > 0, rounded.to(inputs.dtype), inputs)

    def _follow(self, inputs: Tensor) -> None:
        low, high = inputs.float().amin().clamp(max=0), inputs.float().amax().clamp(min=0)
        keep = torch.where(self.high > self.low, DECAY, 0.0)
        self.low.mul_(keep).add_((1 - keep) * low)
        self.high.mul_(keep).add_((1 - keep) * high)
