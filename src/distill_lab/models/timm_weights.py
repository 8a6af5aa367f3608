"""Weights that timm publishes, by the names that `TimmModel` gives them."""

from __future__ import annotations

import torch
from torch import Tensor

from distill_lab.errors import nearest


def about(name: str) -> tuple[int, tuple[float, ...], tuple[float, ...], int]:
    """Look weights up, without downloading them.

    Args:
        name: in `timm.list_pretrained()`, e.g. "resnet18.a1_in1k".

    Returns:
        Parameters of the network they are for, mean and standard deviation of its inputs by
        channel, and its number of classes.

    Raises:
        ValueError: timm has none of that name.
    """
    import timm  # takes seconds

    known = timm.list_pretrained()
    if name not in known:
        raise ValueError(f"timm has no weights {name!r}.{nearest(name, known)}")
    preset = timm.get_pretrained_cfg(name)
    assert preset is not None  # it is listed
    if not preset.num_classes or not isinstance(preset.classifier, str):
        raise ValueError(f"timm's weights {name!r} have no classifier, or two of them.")
    with torch.device("meta"):
        net = timm.create_model(name)
    num_parameters = sum(parameter.numel() for parameter in net.parameters())
    return num_parameters, tuple(preset.mean), tuple(preset.std), preset.num_classes


def state_dict(name: str) -> dict[str, Tensor]:
    """Return weights, downloaded once, for `TimmModel` of that name.

    Raises:
        OSError: they cannot be had.
    """
    import timm

    preset = timm.get_pretrained_cfg(name)
    assert preset is not None  # `about` knows it
    weights = timm.create_model(name, pretrained=True).state_dict()
    return {_renamed(key, f"{preset.classifier}."): value for key, value in weights.items()}


def _renamed(key: str, head: str) -> str:
    if key.startswith(head):
        return f"classifier.{key.removeprefix(head)}"
    return f"encoder.{key}"
