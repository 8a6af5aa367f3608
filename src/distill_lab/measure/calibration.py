"""Calibration by bins that hold as many samples each."""

from __future__ import annotations

from torch import Tensor

from distill_lab.measure.selective import by_confidence


def adaptive_ece(logits: Tensor, targets: Tensor, num_bins: int) -> float:
    """Calibration error over bins of equal mass: |accuracy - confidence|, mean over samples.

    Bins of equal width leave nearly all samples of a good network to the last one or two; these do
    not. Source: Nguyen and O'Connor 2015, arXiv:1508.05154; of the largest probability,
    as the adaptive ECE of Mukhoti et al. 2020, arXiv:2002.09437. Samples of equal confidence may
    lie in two bins; each then has their mean accuracy, so that their order does not matter.

    Args:
        logits: (N, K), finite; computed in float64.
        targets: (N,) class indices.
        num_bins: >= 1; with fewer samples than bins there is one for each sample.

    Returns:
        In [0, 1]; lower is better. It has no sign.

    Raises:
        ValueError: the shapes do not fit, there are no samples, or no bins.
    """
    if logits.ndim != 2 or targets.shape != logits.shape[:1] or not len(targets) or num_bins < 1:
        raise ValueError(
            "logits, targets, num_bins: must be (N, K) and (N,) with N >= 1, and >= 1, "
            f"got {tuple(logits.shape)}, {tuple(targets.shape)} and {num_bins}."
        )
    confidence, right = by_confidence(logits, targets)
    gaps = (right - confidence).tensor_split(min(num_bins, len(targets)))
    return sum(abs(gap.sum().item()) for gap in gaps) / len(targets)
