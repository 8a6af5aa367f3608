"""What temperature does to a teacher's soft targets."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def entropy(logits: Tensor, temperature: float) -> float:
    """Mean Shannon entropy of the softened outputs.

    Args:
        logits: (N, K), any float dtype; computed in float64.
        temperature: > 0, no unit.

    Returns:
        In nats: from 0 (certain) to log K (uniform).

    Raises:
        ValueError: the temperature is not positive.
    """
    log_probabilities = _log_softened(logits, temperature)
    return -(log_probabilities.exp() * log_probabilities).sum(dim=1).mean().item()


def wrong_class_variance(logits: Tensor, targets: Tensor, temperature: float) -> float:
    """How much the softened outputs tell the wrong classes apart.

    The population variance over the K - 1 wrong classes of their softened probabilities, which are
    not renormalised, mean over the samples: the "derived variance" of the source.

    Source: Li et al. 2022, arXiv:2210.04427.

    Args:
        logits: (N, K), any float dtype; computed in float64.
        targets: (N,) class indices.
        temperature: > 0, no unit.

    Returns:
        >= 0; 0 if the wrong classes are all equally likely, and for K = 2.

    Raises:
        ValueError: the temperature is not positive.
    """
    probabilities = _log_softened(logits, temperature).exp()
    num_samples, num_classes = logits.shape
    is_wrong = F.one_hot(targets, num_classes) == 0
    wrong = probabilities[is_wrong].view(num_samples, num_classes - 1)
    return wrong.var(dim=1, unbiased=False).mean().item()


def temperature_range(curve: dict[float, float]) -> tuple[float, float]:
    """Propose the range of temperatures that is worth a sweep.

    The rule: the lowest and the highest scanned temperature at which the wrong-class variance is at
    least half of its maximum over the scan. Below it the soft targets are almost one-hot, above it
    almost uniform; on both sides little is left that the labels do not say. The factor one half
    is a convention of this project.

    Args:
        curve: scanned temperature -> `wrong_class_variance` at it.

    Returns:
        (low, high), both scanned temperatures; equal if one alone stands out.

    Raises:
        ValueError: the curve is empty.

    >>> temperature_range({1.0: 0.1, 2.0: 0.6, 4.0: 1.0, 8.0: 0.5, 16.0: 0.2})
    (2.0, 8.0)
    """
    if not curve:
        raise ValueError("curve: must hold at least one temperature, got none.")
    half = max(curve.values()) / 2
    good = [temperature for temperature, variance in curve.items() if variance >= half]
    return min(good), max(good)


def _log_softened(logits: Tensor, temperature: float) -> Tensor:
    if temperature <= 0:
        raise ValueError(f"temperature: must be > 0, got {temperature!r}.")
    return F.log_softmax(logits.detach().double() / temperature, dim=1)
