"""Mixup: convex combinations of pairs of samples and of their labels."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from distill_lab.contracts import Batch


def mixup(batch: Batch, alpha: float, num_classes: int, generator: torch.Generator) -> Batch:
    """Mix every sample with another one of the batch, all by the same share.

    Source: Zhang et al. 2018, arXiv:1710.09412.

    Args:
        batch: inputs (B, ...), targets (B,) class indices.
        alpha: of the Beta(alpha, alpha) distribution of the share, > 0.
        num_classes: K.
        generator: where share and partners are drawn from (CPU).

    Returns:
        The batch with mixed inputs and targets (B, K); teacher and student both see the mixed
        inputs.
    """
    # float64, because for a small alpha both numbers would often underflow in float32.
    concentrations = torch.full((2,), alpha, dtype=torch.float64)
    gammas = torch._standard_gamma(concentrations, generator=generator)
    share = float(gammas[0] / gammas.sum())
    partner = torch.randperm(len(batch.index), generator=generator).to(batch.index.device)
    labels = F.one_hot(batch.targets, num_classes).to(batch.inputs.dtype)
    return batch._replace(
        inputs=share * batch.inputs + (1 - share) * batch.inputs[partner],
        targets=share * labels + (1 - share) * labels[partner],
    )
