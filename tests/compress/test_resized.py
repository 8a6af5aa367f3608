from __future__ import annotations

import torch
from torch import nn

from distill_lab.compress.resized import resized

WIDE = {"bias": False}


def separable(width):
    return nn.Sequential(
        nn.Conv2d(1, width, 1, **WIDE),
        nn.Conv2d(width, width, 3, groups=width, **WIDE),
        nn.BatchNorm2d(width),
        nn.Flatten(),
        nn.Linear(width * 4, 3),
    ).eval()


def test_a_wide_network_becomes_the_narrow_one_whose_weights_it_gets():
    wide, narrow, images = separable(8), separable(5), torch.randn(2, 1, 4, 4)
    made = resized(wide, narrow.state_dict())
    assert torch.equal(made(images), narrow(images))
    assert repr(made) == repr(narrow)
    assert wide[0].out_channels == 8


def test_embeddings_and_one_dimensional_layers_are_resized_too():
    def net(width):
        return nn.Sequential(nn.Embedding(9, width), nn.Conv1d(4, width, 1), nn.BatchNorm1d(width))

    narrow = net(3).eval()
    made = resized(net(6).eval(), narrow.state_dict())
    ids = torch.tensor([[1, 2, 3, 8]])
    assert torch.equal(made(ids), narrow(ids))
    assert repr(made) == repr(narrow)
