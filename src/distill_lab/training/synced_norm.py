"""Batch norm over the rows of all processes: torch's own synchronised one runs on GPUs alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from distill_lab.training.group import Group


@contextmanager
def synced_batch_norms(net: nn.Module, group: Group) -> Iterator[None]:
    """Let the batch norms of a network see the whole batch inside; with one process they do so."""
    norms = [module for module in net.modules() if isinstance(module, _BatchNorm)]
    norms = norms if group.size > 1 else []
    for norm in norms:
        norm.forward = partial(_forward, norm)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


@contextmanager
def unsynced_batch_norms(net: nn.Module) -> Iterator[None]:
    """Let them see this process's rows alone inside: those of all, where all have the same."""
    norms = [module for module in net.modules() if isinstance(module, _BatchNorm)]
    synced = [(norm, vars(norm).pop("forward")) for norm in norms if "forward" in vars(norm)]
    try:
        yield
    finally:
        for norm, forward in synced:
            norm.forward = forward  # type: ignore[method-assign]


def _forward(norm: _BatchNorm, inputs: Tensor) -> Tensor:
    """Do what the layer does, with moments of all rows, in float32.

    Args:
        norm: the layer.
        inputs: (own rows, C, ...).
    """
    if not norm.training:
        return type(norm).forward(norm, inputs)
    norm._check_input_dim(inputs)
    values = inputs.float()
    axes = [0, *range(2, inputs.ndim)]
    shape = [1, -1, *[1] * (inputs.ndim - 2)]
    sums = torch.cat([values.sum(axes), values.new_tensor([values.numel() / values.shape[1]])])
    sums = _Sum.apply(sums)
    count = sums[-1].detach()
    mean = sums[:-1] / count
    centred = values - mean.view(shape)
    variance = _Sum.apply(centred.square().sum(axes)) / count
    _remember(norm, mean.detach(), variance.detach() * (count / (count - 1)))
    normalised = centred * (variance + norm.eps).rsqrt().view(shape)
    if norm.affine:
        normalised = normalised * norm.weight.view(shape) + norm.bias.view(shape)
    return normalised.to(inputs.dtype)


@torch.no_grad()
def _remember(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    if norm.running_mean is None or norm.running_var is None:
        return
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    share = norm.momentum
    if share is None:
        share = 1 / float(norm.num_batches_tracked)
    norm.running_mean.lerp_(mean, share)
    norm.running_var.lerp_(variance, share)


class _Sum(torch.autograd.Function):
    """Sums over processes, forwards and backwards: each has a part of the sum's gradient."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        total = own.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total
