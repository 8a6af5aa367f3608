"""How alike two layers represent the same samples: centred kernel alignment (CKA)."""

from __future__ import annotations

import torch
from torch import Tensor


def linear_cka(first: Tensor, second: Tensor) -> float:
    """Linear CKA of two layers' features of the same samples, in float64.

    Computed from (D, E) products of features or from (N, N) Gram matrices, whichever is cheaper;
    both give the same number.

    Source: Kornblith et al. 2019, arXiv:1905.00414, section 3.

    Args:
        first: (N, D); further axes (channels, height, width) are flattened into D.
        second: (N, E), likewise.

    Returns:
        In [0, 1]: 1 if one is the other rotated and scaled. 0 where one of them is the same for
        all samples, for which CKA is not defined.

    Raises:
        ValueError: the numbers of samples differ.

    >>> linear_cka(torch.eye(3), 5 * torch.eye(3).flip(1))
    1.0
    """
    _check_samples(first, second)
    left, right = _centred(first), _centred(second)
    num_samples, width, other_width = len(left), left.shape[1], right.shape[1]
    gram_cost = num_samples * (width + other_width)
    if gram_cost < width * other_width + width**2 + other_width**2:
        left, right = left @ left.T, right @ right.T
        return _ratio((left * right).sum(), left.norm(), right.norm())
    cross = (left.T @ right).square().sum()
    return _ratio(cross, (left.T @ left).norm(), (right.T @ right).norm())


def cka_matrix(first: dict[str, Tensor], second: dict[str, Tensor]) -> Tensor:
    """Linear CKA between every layer of one network and every layer of another.

    Each layer's (N, N) Gram matrix is computed once, so memory is 8 N^2 bytes per layer of
    `second`: 33 MB at N = 2048.

    Args:
        first: layer name -> (N, ...) features, flattened as in `linear_cka`.
        second: likewise, of the same N samples.

    Returns:
        (layers of first, layers of second), float64, in the order of the dicts.

    Raises:
        ValueError: the numbers of samples differ.
    """
    grams = []
    for features in second.values():
        centred = _centred(features)
        grams.append(centred @ centred.T)
    matrix = torch.zeros(len(first), len(second), dtype=torch.float64)
    for row, features in enumerate(first.values()):
        centred = _centred(features)
        gram = centred @ centred.T
        for column, other in enumerate(grams):
            _check_samples(gram, other)
            matrix[row, column] = _ratio((gram * other).sum(), gram.norm(), other.norm())
    return matrix


def _check_samples(first: Tensor, second: Tensor) -> None:
    if len(first) != len(second):
        raise ValueError(
            "CKA compares two layers on the same samples: "
            f"first has {len(first)}, second has {len(second)}."
        )


def _centred(features: Tensor) -> Tensor:
    flat = features.detach().flatten(1).double()
    flat = flat - flat[:1]  # makes constant features exactly zero; their mean may be rounded
    return flat - flat.mean(dim=0)


def _ratio(cross: Tensor, first_norm: Tensor, second_norm: Tensor) -> float:
    product = (first_norm * second_norm).item()
    # Rounding may leave 1 + 1e-16.
    return min(cross.item() / product, 1.0) if product > 0 else 0.0
