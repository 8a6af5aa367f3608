"""Where a split lies and how its batches get to the device, without the device being waited for."""

from __future__ import annotations

import torch
from torch import Tensor

from distill_lab.contracts import Arrays

RESIDENT_SHARE = 0.5
"""Of the device's free memory, what a split may take; the rest is for networks and activations."""


def resident(arrays: Arrays, device: torch.device) -> Arrays:
    """Return the split on the device if it fits there, else only its targets.

    Args:
        arrays: a split in memory, or one whose inputs lie in files.
        device: on which it is trained.
    """
    if device.type == "cpu":
        return arrays
    inputs = arrays.inputs
    if isinstance(inputs, Tensor) and inputs.nbytes <= RESIDENT_SHARE * free_bytes(device):
        inputs = inputs.to(device)
    return arrays._replace(inputs=inputs, targets=arrays.targets.to(device))


def free_bytes(device: torch.device) -> int:
    """Return the free memory of a CUDA device, torch's own reserve included; 0 for any other."""
    if device.type != "cuda":
        return 0
    reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + reserve


def select(tensor: Tensor, index: Tensor, device: torch.device) -> Tensor:
    """Return a fresh copy of some rows on the device, wherever the tensor lies.

    Args:
        tensor: (N, ...).
        index: (B,) int64, on the CPU.
        device: for the result.
    """
    return moved(tensor.index_select(0, moved(index, tensor.device)), device)


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Return the tensor on the device; work goes on while it is copied to a GPU."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        # The copy out of pageable memory would be waited for.
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
