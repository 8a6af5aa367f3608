"""Weights that torchvision publishes, for teachers that nobody has to train."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torchvision import models

from distill_lab.errors import nearest


@dataclass(frozen=True)
class Published:
    """Trained weights, not downloaded yet.

    Attributes:
        name: e.g. "ResNet34_Weights.IMAGENET1K_V1".
        num_parameters: of the network they are for.
        mean: per channel, that inputs are normalised by.
        std: per channel.
    """

    name: str
    num_parameters: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def state_dict(self) -> dict[str, Tensor]:
        """Return the weights by name; downloaded once, and checked against torchvision's hash."""
        weights: dict[str, Tensor] = models.get_weight(self.name).get_state_dict(
            progress=False, check_hash=True
        )
        return weights


def published(name: str) -> Published:
    """Look weights up.

    Raises:
        ValueError: torchvision has none of that name for classifying images.
    """
    names = models.list_models(module=models)  # those that classify images
    known = {str(one): one for model in names for one in models.get_model_weights(model)}
    if name not in known:
        raise ValueError(f"torchvision has no weights {name!r}.{nearest(name, known)}")
    preset = known[name].transforms()
    mean, std = tuple(preset.mean), tuple(preset.std)
    return Published(name, known[name].meta["num_params"], mean, std)
