"""Inputs to zero mean and unit variance per channel."""

from __future__ import annotations

from torch import Tensor

from distill_lab.contracts import DataInfo


def normalise(inputs: Tensor, info: DataInfo) -> Tensor:
    """Subtract the mean of each channel and divide by its standard deviation.

    Args:
        inputs: (B, C, ...) float.
        info: holds C means and C standard deviations.
    """
    shape = (-1,) + (1,) * (inputs.dim() - 2)
    mean = inputs.new_tensor(info.mean).view(shape)
    std = inputs.new_tensor(info.std).view(shape)
    return (inputs - mean) / std
