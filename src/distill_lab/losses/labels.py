"""Labels as class indices or as probabilities."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def class_indices(targets: Tensor) -> Tensor:
    """Return (B,) class indices of targets (B,), or of mixed ones (B, K) the likeliest class.

    >>> import torch
    >>> class_indices(torch.tensor([[0.3, 0.7], [1.0, 0.0]]))
    tensor([1, 0])
    """
    return targets.long() if targets.ndim == 1 else targets.argmax(dim=1)


def as_labels(targets: Tensor) -> Tensor:
    """Return class indices (B,) of any integer type as int64, and probabilities (B, K) as they are.

    >>> import torch
    >>> as_labels(torch.tensor([2, 0], dtype=torch.int32)).dtype
    torch.int64
    """
    return targets.long() if targets.ndim == 1 else targets


def class_probabilities(targets: Tensor, num_classes: int) -> Tensor:
    """Return (B, K) probabilities: one-hot of class indices (B,), and (B, K) as they are.

    >>> import torch
    >>> class_probabilities(torch.tensor([1, 0]), 3).tolist()
    [[0, 1, 0], [1, 0, 0]]
    """
    labels = as_labels(targets)
    return F.one_hot(labels, num_classes) if labels.ndim == 1 else labels
