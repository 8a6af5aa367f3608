from __future__ import annotations

import pytest
import timm
import torch

from distill_lab.models.published import published
from distill_lab.models.timm_model import TimmModel

NAME = "timm/resnet18.a1_in1k"


def test_weights_are_known_before_they_are_downloaded():
    found = published(NAME)
    # As torchvision's resnet18: 11.7 million parameters; mean and std of ImageNet.
    assert (found.num_parameters, found.num_classes) == (11_689_512, 1000)
    assert found.mean == (0.485, 0.456, 0.406)
    assert found.std == (0.229, 0.224, 0.225)


def test_they_fit_our_network_of_that_name(monkeypatch):
    torch.manual_seed(0)
    theirs = timm.create_model("resnet18").eval()
    found, asked = published(NAME), []

    def download(name, pretrained):
        asked.append((name, pretrained))
        return theirs

    with monkeypatch.context() as patch:
        patch.setattr(timm, "create_model", download)
        state = found.state_dict()
    assert asked == [("resnet18.a1_in1k", True)]
    ours = TimmModel(input_shape=(3, 32, 32), num_classes=1000, name="resnet18", patch_size=None)
    ours.load_state_dict(state)
    inputs = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(ours.eval()(inputs), theirs(inputs))


def test_weights_without_one_classifier_are_none():
    with pytest.raises(ValueError, match=r"have no classifier, or two of them"):
        published("timm/deit_tiny_distilled_patch16_224.fb_in1k")


def test_a_name_that_timm_does_not_have_is_told_with_the_nearest():
    with pytest.raises(ValueError, match=r"timm has no weights 'resnet18\.a1_in2k'\. Did you"):
        published("timm/resnet18.a1_in2k")
