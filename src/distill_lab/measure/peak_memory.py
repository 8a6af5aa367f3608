"""The memory that one inference needs, counted operator by operator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from distill_lab.contracts import placeholder
from distill_lab.measure.modes import evaluating

_MIB = 2**20


def size_bytes(net: nn.Module) -> int:
    """Sum the bytes of parameters and buffers in their present dtype; shared ones count once.

    >>> size_bytes(nn.Linear(10, 20))
    880
    """
    return sum(tensor.nbytes for tensor in weights_of(net))


def weights_of(net: nn.Module) -> list[Tensor]:
    """Return parameters and buffers; of one that is made of others, as int8 with scales, these."""
    return list(plain(chain(net.parameters(), net.buffers())))


def peak_memory_mib(net: nn.Module, input_shape: tuple[int, ...], batch_size: int = 1) -> float:
    """Count the bytes that one inference forward pass needs at its worst moment.

    Works on the meta device; the rest is as of `peak_with_mib`.

    Args:
        net: its train or eval mode is left as it was.
        input_shape: shape of one input, no batch axis.
        batch_size: B, >= 1.
    """
    return peak_with_mib(net, placeholder(net, input_shape, batch_size), weights_of(net))


def peak_with_mib(net: nn.Module, inputs: Tensor, weights: list[Tensor]) -> float:
    """Count the bytes that one inference forward pass needs at its worst moment.

    That is all weights, plus the largest sum of the tensors alive when an operator has just
    finished: the network's input (the caller holds it), the operator's own inputs and outputs, and
    whatever the network still holds on to. A view counts as the tensor it looks into. Counted, not
    sampled, so the same in every run; scratch space inside a kernel and the allocator's rounding
    are left out.

    Args:
        net: run by torch; its train or eval mode is left as it was.
        inputs: (B, ...).
        weights: that it holds all the time, none of them made of others.
    """
    meter = _ActivationMeter(inputs, weights)
    with evaluating(net), torch.no_grad(), meter:
        net(inputs)
    return (sum(weight.nbytes for weight in weights) + meter.peak_bytes) / _MIB


def plain(tensors: Iterable[Any]) -> Iterator[Tensor]:
    """Yield tensors; in place of one that is made of others, as int8 with scales, these.

    Such a one would tell the bytes of the dtype that it stands for, which nobody holds.
    """
    for tensor in tensors:
        if hasattr(tensor, "__tensor_flatten__"):
            names, _ = tensor.__tensor_flatten__()
            yield from plain(getattr(tensor, name) for name in names)
        else:
            yield tensor


class _ActivationMeter(TorchDispatchMode):
    """Sees every operator and keeps the largest sum of bytes of the storages alive after one."""

    def __init__(self, inputs: Tensor, weights: list[Tensor]) -> None:
        super().__init__()
        self.weights = {StorageWeakRef(weight.untyped_storage()) for weight in weights}
        self.live = {StorageWeakRef(inputs.untyped_storage()): inputs.untyped_storage().nbytes()}
        self.peak_bytes = sum(self.live.values())

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if any(issubclass(one, Tensor) and hasattr(one, "__tensor_flatten__") for one in types):
            return NotImplemented  # it is told as the operators on what the tensor is made of
        outputs = func(*args, **(kwargs or {}))
        self.live = {ref: size for ref, size in self.live.items() if not ref.expired()}
        for tensor in _kept_outputs(func, outputs):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                ref = StorageWeakRef(storage)
                if ref not in self.weights:
                    self.live[ref] = storage.nbytes()
        self.peak_bytes = max(self.peak_bytes, sum(self.live.values()))
        return outputs


def _kept_outputs(func: Any, outputs: Any) -> list[Any]:
    """Leave out the statistics of batch norm: in eval mode they are empty, save on meta tensors."""
    return tree_leaves(outputs)[: 1 if func is torch.ops.aten.native_batch_norm.default else None]
