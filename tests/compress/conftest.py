"""A network of convolutions and one of linear layers, and inputs for both."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from distill_lab.models.cnn import CNN
from distill_lab.models.mlp import MLP


@pytest.fixture
def cnn() -> nn.Module:
    """Two blocks of 4 and 8 channels on 1x8x8 images of 3 classes; batch norms have seen data."""
    torch.manual_seed(0)
    net = CNN(
        input_shape=(1, 8, 8),
        num_classes=3,
        channels=[4, 8],
        convs_per_block=1,
        kernel_size=3,
        dropout=0.0,
    )
    for _ in range(20):
        net.train()(torch.randn(32, 1, 8, 8))
    return net.eval()


@pytest.fixture
def mlp() -> nn.Module:
    """64-16-8-3 on 1x8x8 images."""
    torch.manual_seed(0)
    knobs = {"dropout": 0.0, "input_dropout": 0.0, "max_norm": None}
    return MLP(input_shape=(1, 8, 8), num_classes=3, widths=[16, 8], **knobs).eval()


@pytest.fixture
def images() -> torch.Tensor:
    """64 images."""
    torch.manual_seed(1)
    return torch.randn(64, 1, 8, 8)
