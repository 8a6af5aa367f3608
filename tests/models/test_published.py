from __future__ import annotations

import pytest
import torch
from torchvision.models import ResNet34_Weights

from distill_lab.models.published import published
from distill_lab.models.resnet import ResNet

NAME = "ResNet34_Weights.IMAGENET1K_V1"


def test_weights_are_known_before_they_are_downloaded():
    found = published(NAME)
    # torchvision's table of weights: 21.8 million parameters; mean and std of ImageNet.
    assert found.num_parameters == 21_797_672
    assert found.mean == (0.485, 0.456, 0.406)
    assert found.std == (0.229, 0.224, 0.225)


def test_they_fit_our_network_of_that_name(monkeypatch):
    with torch.device("meta"):
        net = ResNet(input_shape=(3, 224, 224), num_classes=1000, depth=34, small_images=False)
    asked = []

    def download(weights, **how):
        asked.append((weights, how["check_hash"]))
        return torchvision_names()

    monkeypatch.setattr(ResNet34_Weights, "get_state_dict", download)
    net.load_state_dict(published(NAME).state_dict(), assign=True)
    assert asked == [(ResNet34_Weights.IMAGENET1K_V1, True)]


def torchvision_names():
    from torchvision.models import resnet34

    with torch.device("meta"):
        return resnet34().state_dict()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ResNet34_Weights.IMAGENET1K_V9", " Did you mean 'ResNet34_Weights.IMAGENET1K_V1'?"),
        ("FCOS_ResNet50_FPN_Weights.COCO_V1", ""),  # detects, does not classify
    ],
)
def test_a_name_that_torchvision_does_not_have_is_told_with_the_nearest(name, hint):
    with pytest.raises(ValueError, match="torchvision has no weights") as caught:
        published(name)
    assert str(caught.value).startswith(f"torchvision has no weights {name!r}.{hint}")
