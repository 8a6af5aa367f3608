"""Inputs to zero mean and unit variance per channel."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from distill_lab.contracts import DataInfo


def normalise(inputs: Tensor, info: DataInfo, out: Tensor | None = None) -> Tensor:
    """Subtract the mean of each channel and divide by its standard deviation; token ids stay.

    Args:
        inputs: (B, C, ...) float, or (B, L) token ids.
        info: holds C means and C standard deviations.
        out: where the result is written, e.g. the inputs themselves; None makes a new tensor.
    """
    if info.vocabulary_size is not None:
        return inputs
    dims = inputs.dim() - 1
    mean = _per_channel(info.mean, dims, inputs.dtype, inputs.device)
    std = _per_channel(info.std, dims, inputs.dtype, inputs.device)
    return torch.sub(inputs, mean, out=out).div_(std)


@cache
def _per_channel(
    values: tuple[float, ...], dims: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    # Kept, because making a tensor costs as much as dividing a small batch by it. It may be made
    # while only inference is meant, and be read in a training later.
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device).view(-1, *(1,) * (dims - 1))
