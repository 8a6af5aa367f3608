"""Weights that torchvision or timm publish, for teachers that nobody has to train."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torchvision import models

from distill_lab.errors import nearest
from distill_lab.models import timm_weights

TIMM = "timm/"
"""What the names of timm's weights begin with, as on its hub."""


@dataclass(frozen=True)
class Published:
    """Trained weights, not downloaded yet.

    Attributes:
        name: e.g. "ResNet34_Weights.IMAGENET1K_V1" or "timm/resnet18.a1_in1k".
        num_parameters: of the network they are for.
        mean: per channel, that inputs are normalised by.
        std: per channel.
        num_classes: that the network they are for tells apart.
    """

    name: str
    num_parameters: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    num_classes: int = 1000

    def state_dict(self) -> dict[str, Tensor]:
        """Return the weights by the names of our networks; downloaded once.

        Those of torchvision are checked against its hash. Those of timm are fetched by timm, from
        its hub.
        """
        if self.name.startswith(TIMM):
            return timm_weights.state_dict(self.name.removeprefix(TIMM))
        weights: dict[str, Tensor] = models.get_weight(self.name).get_state_dict(
            progress=False, check_hash=True, weights_only=True
        )
        return weights


def published(name: str) -> Published:
    """Look weights up.

    Raises:
        ValueError: torchvision, or timm, has none of that name for classifying images.
    """
    if name.startswith(TIMM):
        return Published(name, *timm_weights.about(name.removeprefix(TIMM)))
    names = models.list_models(module=models)  # those that classify images
    known = {str(one): one for model in names for one in models.get_model_weights(model)}
    if name not in known:
        raise ValueError(f"torchvision has no weights {name!r}.{nearest(name, known)}")
    preset = known[name].transforms()
    mean, std = tuple(preset.mean), tuple(preset.std)
    return Published(name, known[name].meta["num_params"], mean, std)
