"""The classifier of a network, for losses that ask it about a layer."""

from __future__ import annotations

from torch import nn

from distill_lab.contracts import Output
from distill_lab.losses.pairs import AS_MAP


def classifier_for(output: Output, tap: str) -> nn.Linear:
    """Return the classifier of a network, once it is certain that it can read a tap's feature.

    Args:
        output: of the network.
        tap: of its features that are maps (B, C, H, W) or vectors (B, C).

    Raises:
        ValueError: there is no linear classifier, or it does not have C inputs.
    """
    return readable(output.classifier, tap, output.features[tap].shape[1])


def readable(classifier: nn.Linear | None, tap: str, channels: int) -> nn.Linear:
    """Return a classifier that reads as many features as a tap has channels.

    Raises:
        ValueError: there is none, or it reads another number of features, or not the patches.
    """
    if tap.endswith(AS_MAP):
        raise ValueError(
            f"pairs: {tap!r} are patches, and the classifier beside them does not read their map. "
            "Take a network that averages a map for its classifier."
        )
    if classifier is None:
        raise ValueError(f"pairs: {tap!r} needs a linear classifier, but the network has none.")
    if classifier.in_features != channels:
        raise ValueError(
            f"pairs: {tap!r} has {channels} channels, but the network's classifier reads "
            f"{classifier.in_features} features. Name the layer that is averaged for it."
        )
    return classifier
