from __future__ import annotations

import pytest
import timm
import torch

from distill_lab.contracts import Component
from distill_lab.knowledge.taps import classifier_of, forward_with_taps, tap_shapes
from distill_lab.measure.cost import count_macs, count_parameters
from distill_lab.models.timm_model import TimmModel

VIT = "test_vit"  # of timm: 6 blocks of width 64 with 2 heads, one token before the patches


def make(name, shape=(1, 8, 8), patch_size=None):
    torch.manual_seed(0)
    return TimmModel(input_shape=shape, num_classes=3, name=name, patch_size=patch_size)


def on_meta(*args):
    with torch.device("meta"):
        return make(*args)


def test_logits_are_those_of_timm_with_the_same_weights():
    ours = make("test_resnet", (3, 32, 32)).eval()
    theirs = timm.create_model("test_resnet", num_classes=3).eval()
    theirs.load_state_dict({**ours.encoder.state_dict(), **head(ours, "fc")})
    inputs = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(ours(inputs), theirs(inputs))


def head(net, name):
    return {f"{name}.{key}": value for key, value in net.classifier.state_dict().items()}


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext", VIT])
def test_small_grey_images_are_read(name):
    net = make(name, (1, 32, 32), 4 if name == VIT else None)
    assert net(torch.randn(2, 1, 32, 32)).shape == (2, 3)
    assert classifier_of(net) is net.classifier


def test_its_size_is_that_of_the_published_network():
    # DeiT, arXiv:2012.12877, table 1: 5 M parameters. By hand: embedding of patches and positions,
    # 12 blocks of 4 products of 192 x 192, two of 192 x 768, their biases and norms, and a norm.
    net = on_meta("vit_tiny_patch16_224", (3, 224, 224))
    embedding = 16 * 16 * 3 * 192 + 192 + 192 + 197 * 192
    block = 4 * 192 * 192 + 4 * 192 + 2 * 192 * 768 + 768 + 192 + 4 * 192
    assert count_parameters(net) == embedding + 12 * block + 2 * 192 + 192 * 3 + 3
    per_block = 12 * 192 * 192 * 197 + 2 * 197 * 197 * 192
    macs = 196 * 16 * 16 * 3 * 192 + 12 * per_block + 192 * 3
    assert count_macs(net, (3, 224, 224)) == macs


def test_taps_are_the_layers_that_timm_lists_as_features():
    net = on_meta("resnet18", (3, 64, 64))
    assert net.taps == ["encoder.act1", *(f"encoder.layer{n}" for n in (1, 2, 3, 4))]
    assert tap_shapes(net, (3, 64, 64), net.taps)["encoder.layer4"] == (2, 512, 2, 2)


def test_a_vit_shows_tokens_maps_attention_and_projections():
    net = make(VIT, (1, 8, 12), 4).eval()
    last = "encoder.blocks.5"
    assert (net.token_grid, net.taps[-1], len(net.taps)) == ((2, 3), last, 6)
    kinds = [last, f"{last}:map", f"{last}:attention", f"{last}:qkv"]
    features = forward_with_taps(net, torch.randn(2, 1, 8, 12), kinds).features
    assert [tuple(feature.shape) for feature in features.values()] == [
        (2, 7, 64),
        (2, 64, 2, 3),
        (2, 2, 7, 7),
        (2, 7, 192),
    ]
    torch.testing.assert_close(features[f"{last}:map"][:, :, 1, 2], features[last][:, -1])


def test_distillation_tokens_of_timm_are_no_patches():
    net = on_meta("deit_tiny_distilled_patch16_224", (3, 32, 32), 8)
    taps = ["encoder.blocks.0", "encoder.blocks.0:map"]
    shapes = tap_shapes(net, (3, 32, 32), taps)
    assert shapes == {taps[0]: (2, 18, 192), taps[1]: (2, 192, 4, 4)}


def test_patches_of_a_mixer_are_a_grid_too():
    assert on_meta("mixer_s32_224", (3, 224, 224)).token_grid == (7, 7)


def test_layers_with_channels_last_are_no_taps():
    net = on_meta("swin_tiny_patch4_window7_224", (3, 56, 56))
    assert net.taps == ["encoder"]
    assert tap_shapes(net, (3, 56, 56), net.taps) == {"encoder": (2, 768)}


def test_weights_depend_on_the_seed_alone_and_are_none_on_meta():
    first, again = make("test_resnet"), make("test_resnet")
    for ours, theirs in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert all(parameter.is_meta for parameter in on_meta("test_resnet").parameters())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("resnet1",), r"name: timm has no network 'resnet1'\. Did you mean 'resnet18'\?"),
        (("resnet18.none",), r"name: resnet18\.none cannot be made .*Invalid pretrained tag"),
        (("resnet18", (1, 8, 8), 4), r"name: resnet18 .*patch_size=4.*It takes patch_size=null"),
        (("gcvit_xxtiny", (1, 28, 28)), r"name: gcvit_xxtiny .*zero"),
        (("mixer_s32_224", (3, 48, 48)), r"patch_size: must be a divisor of H and W, \(48, 48\)"),
        ((VIT, (1, 8, 8), 0), r"patch_size: must be >= 1 or null, got 0"),
        ((VIT, (1, 8, 8), 3), r"patch_size: must be a divisor of H and W, \(8, 8\), got 3"),
        (("vgg11",), r"name: vgg11 does not read \(1, 8, 8\)"),
        (("resnet18", (8,)), r"input_shape: must be \(C, H, W\)"),
    ],
)
def test_what_cannot_be_made_is_told_by_its_knob(args, message):
    with pytest.raises(ValueError, match=message):
        on_meta(*args)


def test_it_can_lend_its_classifier_to_a_student():
    from distill_lab.models.reused_classifier import ReusedClassifier

    knobs = {"name": "test_resnet", "patch_size": None}
    network = {"target": f"{TimmModel.__module__}.TimmModel", "args": knobs, "is_student": False}
    net = ReusedClassifier(
        input_shape=(1, 8, 8), num_classes=3, student=network, teacher=network, reduction=2
    )
    teacher = Component(network["target"], knobs).make(input_shape=(1, 8, 8), num_classes=3)
    net.reuse(teacher)
    assert torch.equal(net.classifier.weight, teacher.classifier.weight)
    assert net(torch.randn(2, 1, 8, 8)).shape == (2, 3)
