"""How alike two layers represent the same samples: centred kernel alignment (CKA)."""

from __future__ import annotations

import torch
from torch import Tensor


def cka_matrix(first: dict[str, Tensor], second: dict[str, Tensor]) -> Tensor:
    """Linear CKA between every layer of one network and every layer of another, in float64.

    In [0, 1]: 1 if one layer is the other rotated and scaled. 0 where one of them is the same for
    all samples, for which CKA is not defined. Each layer's (N, N) Gram matrix is computed once, so
    memory is 8 N^2 bytes per layer of `second`: 33 MB at N = 2048.

    Source: Kornblith et al. 2019, arXiv:1905.00414, section 3.

    Args:
        first: layer name -> (N, ...) features of N samples; all further axes are flattened.
        second: likewise, of the same N samples.

    Returns:
        (layers of first, layers of second), in the order of the dicts.

    Raises:
        ValueError: the numbers of samples differ.

    >>> cka_matrix({"a": torch.eye(3)}, {"b": 5 * torch.eye(3).flip(1)}).item()
    1.0
    """
    grams = [_gram(features) for features in second.values()]
    matrix = torch.zeros(len(first), len(second), dtype=torch.float64)
    for row, features in enumerate(first.values()):
        gram = _gram(features)
        for column, other in enumerate(grams):
            matrix[row, column] = _cka(gram, other)
    return matrix


def _gram(features: Tensor) -> Tensor:
    flat = features.detach().flatten(1).double()
    flat = flat - flat[:1]  # makes constant features exactly zero; their mean may be rounded
    centred = flat - flat.mean(dim=0)
    return centred @ centred.T


def _cka(first: Tensor, second: Tensor) -> float:
    if len(first) != len(second):
        raise ValueError(
            "CKA compares two layers on the same samples: "
            f"first has {len(first)}, second has {len(second)}."
        )
    product = (first.norm() * second.norm()).item()
    # Rounding may leave 1 + 1e-16.
    return min((first * second).sum().item() / product, 1.0) if product > 0 else 0.0
