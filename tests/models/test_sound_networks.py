"""The networks for sound: pictures of bands and frames."""

from __future__ import annotations

import pytest
import torch

from distill_lab.measure.cost import count_macs, count_parameters
from distill_lab.models.ds_cnn import DSCNN
from distill_lab.models.gru import GRU
from distill_lab.models.vit import ViT

SHAPE = (1, 40, 96)
SEPARABLE = {"channels": 64, "depth": 4, "dropout": 0.0}
RECURRENT = {"hidden": 6, "num_layers": 1, "dropout": 0.0}


def make(kind, knobs, input_shape=SHAPE, num_classes=5):
    return kind(input_shape=input_shape, num_classes=num_classes, **knobs)


def test_a_separable_block_has_one_filter_a_channel_and_one_mix_of_them():
    block = 64 * 9 + 64 * 64 + 2 * 2 * 64
    assert count_parameters(make(DSCNN, SEPARABLE)) == 64 * 40 + 2 * 64 + 4 * block + 64 * 5 + 5


def test_the_first_convolution_halves_the_picture():
    macs = 21 * 49 * (64 * 40 + 4 * (64 * 9 + 64 * 64)) + 64 * 5
    assert count_macs(make(DSCNN, SEPARABLE), SHAPE) == macs


def test_a_frame_is_a_step_of_the_gru():
    net = make(GRU, RECURRENT)
    assert count_macs(net, SHAPE) == 96 * 3 * 6 * (40 + 6) + 6 * 5
    assert count_parameters(net) == 2 * 40 + 3 * 6 * (40 + 6 + 2) + 6 * 5 + 5


def test_the_gru_hears_the_order_of_the_frames():
    torch.manual_seed(0)
    net, picture = make(GRU, RECURRENT).eval(), torch.randn(1, *SHAPE)
    with torch.no_grad():
        assert not torch.allclose(net(picture), net(picture.flip(3)), atol=1e-5)


def test_a_patch_may_be_all_bands_of_some_frames():
    knobs = {"dim": 8, "depth": 1, "num_heads": 1, "mlp_ratio": 1.0, "dropout": 0.0}
    net = make(ViT, {**knobs, "patch_size": [40, 4], "distillation_token": False})
    assert net.patches(torch.zeros(1, *SHAPE)).shape == (1, 8, 1, 24)
    assert net(torch.zeros(2, *SHAPE)).shape == (2, 5)


@pytest.mark.parametrize(
    ("kind", "knobs", "text"),
    [
        (DSCNN, SEPARABLE | {"channels": 0}, "channels: must be >= 1, got 0."),
        (DSCNN, SEPARABLE | {"depth": 0}, "depth: must be >= 1, got 0."),
        (GRU, RECURRENT | {"hidden": 0}, "hidden: must be >= 1, got 0."),
        (GRU, RECURRENT | {"num_layers": 0}, "num_layers: must be >= 1, got 0."),
        (GRU, RECURRENT | {"dropout": 1.0}, r"dropout: must be in \[0, 1\), got 1.0."),
    ],
)
def test_a_wrong_knob_is_named(kind, knobs, text):
    with pytest.raises(ValueError, match=text):
        make(kind, knobs)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        ([40, 5], r"patch_size: must divide W, got 5\. Nearest: 4\."),
        ([3, 4], r"patch_size: must divide H, got 3\. Nearest: 2\."),
        ([4], r"patch_size: must be one number, or height and width, got \[4\]\."),
    ],
)
def test_a_patch_that_does_not_fit_is_named(size, text):
    knobs = {"dim": 8, "depth": 1, "num_heads": 1, "mlp_ratio": 1.0, "dropout": 0.0}
    with pytest.raises(ValueError, match=text):
        make(ViT, {**knobs, "patch_size": size, "distillation_token": False})


@pytest.mark.parametrize(("kind", "knobs"), [(DSCNN, SEPARABLE), (GRU, RECURRENT)])
def test_what_is_no_picture_is_refused(kind, knobs):
    with pytest.raises(ValueError, match=r"input_shape: must be \(C, H, W\)"):
        make(kind, knobs, input_shape=(7,))
