"""How much better a network is where it is sure: it may leave out what it is least sure of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NUM_POINTS = 20  # of the curve that is kept


@dataclass(frozen=True)
class Selective:
    """Accuracy of the samples that are answered, by their share.

    Attributes:
        coverage: in (0, 1], ascending, at equal distances.
        accuracy: of that most confident share of the samples.
        aurc: area under the curve of risk, 1 - accuracy, against coverage: the mean of the risk
            over all N coverages; lower is better.
    """

    coverage: list[float]
    accuracy: list[float]
    aurc: float


def selective(logits: Tensor, targets: Tensor) -> Selective:
    """Answer the most confident samples first, confidence being the largest probability.

    Source: Geifman and El-Yaniv 2017, arXiv:1705.08500; the area as in Geifman et al. 2019,
    arXiv:1805.08206. Samples of equal confidence have their mean accuracy each, which is
    the mean over all orders of them.

    Args:
        logits: (N, K), finite; computed in float64.
        targets: (N,) class indices.

    Raises:
        ValueError: the shapes do not fit, or there are no samples.
    """
    if logits.ndim != 2 or targets.shape != logits.shape[:1] or not len(targets):
        raise ValueError(
            "logits, targets: must be (N, K) and (N,) with N >= 1, "
            f"got {tuple(logits.shape)} and {tuple(targets.shape)}."
        )
    _, right = by_confidence(logits, targets)
    answered = torch.arange(1, len(right) + 1)
    accuracy = right.flip(0).cumsum(0) / answered
    coverage = [(number + 1) / NUM_POINTS for number in range(NUM_POINTS)]
    counts = [max(1, round(share * len(right))) for share in coverage]
    return Selective(
        coverage,
        [accuracy[count - 1].item() for count in counts],
        (1 - accuracy).mean().item(),
    )


def by_confidence(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return confidence, ascending, and whether the sample is right, both (N,) float64.

    Right is 0 or 1; where several samples are equally confident, it is the mean over them.
    """
    confidence, said = logits.detach().double().softmax(dim=1).max(dim=1)
    values, group, counts = confidence.unique(return_inverse=True, return_counts=True)
    right = torch.bincount(group, weights=(said == targets).double()) / counts
    return values.repeat_interleave(counts), right.repeat_interleave(counts)
