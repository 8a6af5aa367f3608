"""One vector for a text out of one for each of its words; padding does not count."""

from __future__ import annotations

import torch
from torch import Tensor


def largest_over_words(states: Tensor, ids: Tensor) -> Tensor:
    """Return (B, D), the largest of each of (B, L, D) where ids (B, L) are not padding.

    A row without a word gives zeros.
    """
    is_word = (ids > 0)[:, :, None]
    largest = states.masked_fill(~is_word, torch.finfo(states.dtype).min).amax(dim=1)
    return largest * is_word.any(dim=1)


def mean_over_words(states: Tensor, ids: Tensor) -> Tensor:
    """Return (B, D), the mean of (B, L, D) where ids (B, L) are not padding.

    A row without a word gives zeros.
    """
    is_word = (ids > 0).to(states.dtype)
    return torch.einsum("bld,bl->bd", states, is_word) / is_word.sum(dim=1, keepdim=True).clamp(1)
