"""Directions of vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from distill_lab.losses.precision import wide

_SHORTEST = 1e-6  # length below which a vector has no direction


def unit_vectors(vectors: Tensor) -> Tensor:
    """Divide vectors (..., D) by their lengths; shorter than 1e-6, they become 0 without gradient.

    >>> unit_vectors(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    lengths = wide(vectors).norm(dim=-1, keepdim=True)
    return wide(vectors) / lengths.masked_fill(lengths < _SHORTEST, torch.inf)
