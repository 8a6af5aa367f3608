from __future__ import annotations

import pytest
import torch
from torch import nn

from distill_lab.knowledge.taps import forward_with_taps, tap_shapes
from distill_lab.knowledge.token_grid import as_map, grid_around
from distill_lab.models.vit import ViT


def vit(token=False, patch_size=4):
    torch.manual_seed(0)
    return ViT(
        input_shape=(1, 8, 12),
        num_classes=3,
        patch_size=patch_size,
        dim=6,
        depth=2,
        num_heads=2,
        mlp_ratio=1.0,
        dropout=0.0,
        distillation_token=token,
    ).eval()


def test_patches_are_laid_out_row_by_row_and_the_tokens_before_them_left_out():
    # One token before 2 x 3 patches, each a vector (n, 10 n).
    numbers = torch.arange(7.0)
    tokens = torch.stack([numbers, 10 * numbers], dim=1)[None]
    expected = torch.tensor([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]])
    torch.testing.assert_close(as_map(tokens, (2, 3)), torch.stack([expected, 10 * expected], 1))


@pytest.mark.parametrize("shape", [(2, 5, 8), (2, 48), (2, 8, 2, 3)])
def test_what_holds_no_such_grid_is_refused(shape):
    with pytest.raises(ValueError, match=r"as_map: must be tokens .* 2 x 3; got \(2, "):
        as_map(torch.zeros(shape), (2, 3))


@pytest.mark.parametrize("token", [False, True])
def test_a_tap_shows_the_patches_of_a_vit_as_a_map(token):
    net = vit(token)
    features = forward_with_taps(net, torch.randn(2, 1, 8, 12), ["blocks.1", "blocks.1:map"])
    tokens, maps = features.features["blocks.1"], features.features["blocks.1:map"]
    assert tuple(maps.shape) == (2, 6, 2, 3)
    # The patch in the second row and third column is the last one.
    torch.testing.assert_close(maps[:, :, 1, 2], tokens[:, -1])
    torch.testing.assert_close(maps[:, :, 0, 0], tokens[:, 1 + token])


def test_a_pixel_moves_its_own_patch_alone_before_attention_mixes_them():
    net, dark = vit(), torch.zeros(1, 1, 8, 12)
    lit = dark.clone()
    lit[0, 0, 5, 9] = 1.0  # second row and third column of patches of 4 x 4 pixels
    first, second = (
        forward_with_taps(net, inputs, ["dropout:map"]).features["dropout:map"]
        for inputs in (dark, lit)
    )
    moved = (first != second).any(dim=1)[0]
    assert moved.tolist() == [[False, False, False], [False, False, True]]


def test_patches_need_not_be_square():
    assert tap_shapes(vit(patch_size=[8, 2]), (1, 8, 12), ["blocks.0:map"]) == {
        "blocks.0:map": (2, 6, 1, 6)
    }


def test_the_gradient_of_a_map_reaches_the_patches_alone():
    net = vit()
    features = forward_with_taps(net, torch.randn(2, 1, 8, 12), ["dropout:map"]).features
    features["dropout:map"].sum().backward()
    assert net.positions.grad[0, 0].tolist() == [0.0] * 6
    assert net.positions.grad[0, 1:].tolist() == [[2.0] * 6] * 6


def test_the_grid_is_that_of_the_network_inside_another():
    outer = nn.ModuleDict({"encoder": vit()})
    assert grid_around(outer, "encoder.blocks.0") == (2, 3)
    assert grid_around(outer, "encoder") == (2, 3)
    assert grid_around(nn.Sequential(nn.Linear(2, 2)), "0") is None


@pytest.mark.parametrize("tap", ["patches", "classifier"])
def test_a_layer_without_tokens_is_an_error_that_says_so(tap):
    with pytest.raises(ValueError, match=rf"taps: '{tap}' of ViT has no tokens .*Write '{tap}'"):
        tap_shapes(vit(), (1, 8, 12), [f"{tap}:map"])


def test_tokens_of_a_network_that_names_no_grid_are_no_map():
    net = nn.Sequential(nn.Unflatten(1, (4, 3)), nn.Linear(3, 2))  # 4 tokens could be 2 x 2
    with pytest.raises(ValueError, match="'1' of Sequential has no tokens"):
        tap_shapes(net, (12,), ["1:map"])
