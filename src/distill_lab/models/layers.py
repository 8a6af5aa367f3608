"""Layers that several networks have in common."""

from __future__ import annotations

from torch import nn


def he_conv(
    fan_in: int, width: int, kernel_size: int, stride: int = 1, groups: int = 1, bias: bool = False
) -> nn.Conv2d:
    """Return a convolution that keeps the size of maps but for its stride.

    Weights are drawn as in He et al. 2015, arXiv:1502.01852, from fan out; a bias is 0.

    >>> he_conv(3, 8, kernel_size=3, stride=2)
    Conv2d(3, 8, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), bias=False)
    """
    conv = nn.Conv2d(
        fan_in, width, kernel_size, stride, padding=kernel_size // 2, groups=groups, bias=bias
    )
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv
