"""How right, and how rightly sure, a classifier is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from distill_lab.contracts import ACCURACY, NDCG10, Quality
from distill_lab.measure.ranking import Ranking, ranking


@dataclass(frozen=True)
class Scores:
    """Scores of one network on one split.

    Attributes:
        accuracy: fraction of samples whose largest logit is the target's; higher is better.
        nll: mean negative log-likelihood of the target, nats; lower is better.
        brier: squared distance of probabilities and one-hot target, summed over classes, mean over
            samples, in [0, 2]; lower is better.
        ece: expected calibration error, in [0, 1]; lower is better. It has no sign.
        confidence: mean of the largest probability, in [1/K, 1]; above the accuracy a network is
            over-confident, below it under-confident.
        errors: samples whose largest logit is not the target's, as papers on MNIST count.
        ranking: where classes are items to be ranked.
    """

    accuracy: float
    nll: float
    brier: float
    ece: float
    confidence: float
    errors: int
    ranking: Ranking | None = None

    @property
    def compared_by(self) -> Quality:
        """What `quality` is, as `DataInfo.quality`."""
        return ACCURACY if self.ranking is None else NDCG10

    @property
    def quality(self) -> float:
        """What networks are compared by; higher is better."""
        return self.accuracy if self.ranking is None else self.ranking.ndcg10


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy, by bins of equal width on (0, 1].

    Attributes:
        confidence: mean of the largest probability in each bin; None where the bin is empty.
        accuracy: fraction of correct samples in each bin; None where the bin is empty.
        fraction: of all samples that fall into each bin; sums to 1.
    """

    confidence: tuple[float | None, ...]
    accuracy: tuple[float | None, ...]
    fraction: tuple[float, ...]


def score(logits: Tensor, targets: Tensor, num_bins: int, had: Tensor | None = None) -> Scores:
    """Score logits against targets.

    Args:
        logits: (N, K), finite; computed in float64.
        targets: (N,) class indices.
        num_bins: of the calibration error.
        had: of items to be ranked, see `ranking`; None for other classes.

    Raises:
        ValueError: the shapes do not fit, or there are no samples.
    """
    _check(logits, targets)
    logits = logits.detach().double()
    probabilities = logits.softmax(dim=1)
    one_hot = F.one_hot(targets, logits.shape[1])
    right = logits.argmax(dim=1) == targets
    return Scores(
        accuracy=right.double().mean().item(),
        nll=F.cross_entropy(logits, targets).item(),
        brier=(probabilities - one_hot).square().sum(dim=1).mean().item(),
        ece=_ece(reliability(logits, targets, num_bins)),
        confidence=probabilities.amax(dim=1).mean().item(),
        errors=int((~right).sum()),
        ranking=None if had is None else ranking(logits, targets, had),
    )


def reliability(logits: Tensor, targets: Tensor, num_bins: int) -> Reliability:
    """Sort samples into bins by their confidence, the largest probability.

    Source: Guo et al. 2017, arXiv:1706.04599, section 2.

    Args:
        logits: (N, K), finite; computed in float64.
        targets: (N,) class indices.
        num_bins: >= 1; bin i covers (i / num_bins, (i + 1) / num_bins].

    Raises:
        ValueError: the shapes do not fit, there are no samples, or no bins.
    """
    _check(logits, targets)
    if num_bins < 1:
        raise ValueError(f"num_bins: must be >= 1, got {num_bins}.")
    confidence, predicted = logits.detach().double().softmax(dim=1).max(dim=1)
    inner_edges = torch.arange(1, num_bins).double().to(logits.device) / num_bins
    bins = torch.bucketize(confidence, inner_edges)
    counts = torch.bincount(bins, minlength=num_bins)
    correct = (predicted == targets).double()
    return Reliability(
        confidence=_bin_means(confidence, bins, counts),
        accuracy=_bin_means(correct, bins, counts),
        fraction=tuple((counts / len(targets)).tolist()),
    )


def confusion(logits: Tensor, targets: Tensor) -> Tensor:
    """Count samples by true and predicted class.

    Args:
        logits: (N, K).
        targets: (N,) class indices.

    Returns:
        (K, K) int64, rows true, columns predicted.

    Raises:
        ValueError: the shapes do not fit, or there are no samples.
    """
    _check(logits, targets)
    num_classes = logits.shape[1]
    cells = targets * num_classes + logits.argmax(dim=1)
    return torch.bincount(cells, minlength=num_classes**2).view(num_classes, num_classes)


def _ece(bins: Reliability) -> float:
    return sum(
        fraction * abs(accuracy - confidence)
        for confidence, accuracy, fraction in zip(
            bins.confidence, bins.accuracy, bins.fraction, strict=True
        )
        if confidence is not None and accuracy is not None
    )


def _bin_means(values: Tensor, bins: Tensor, counts: Tensor) -> tuple[float | None, ...]:
    sums = torch.bincount(bins, weights=values, minlength=len(counts))
    pairs = zip(sums.tolist(), counts.tolist(), strict=True)
    return tuple(total / count if count else None for total, count in pairs)


def _check(logits: Tensor, targets: Tensor) -> None:
    if logits.ndim != 2 or targets.shape != logits.shape[:1] or not len(targets):
        raise ValueError(
            "logits, targets: must be (N, K) and (N,) with N >= 1, "
            f"got {tuple(logits.shape)} and {tuple(targets.shape)}."
        )
