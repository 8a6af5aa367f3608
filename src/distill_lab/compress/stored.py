"""A network as a file, and how many bytes it takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from distill_lab.compress.export_torch import TorchGraph
from distill_lab.compress.graph import Graph
from distill_lab.compress.onnx_graph import OnnxGraph

MASK, VALUES, SHAPE = ":mask", ":values", ":shape"
"""Ends of the names under which a tensor with many zeros is kept."""

INT8, SCALE = ".qdata", ".scale"
"""Ends of the names under which torchao keeps integers, and what they are multiplied by."""


class Stored(NamedTuple):
    """The content of a file and the end of its name."""

    content: bytes
    suffix: str


def stored(net: nn.Module) -> Stored:
    """Return a network as the file it is handed out as.

    A graph is its own file. Other networks are safetensors; of an int8 weight these hold the
    integers (`<name>.qdata`) and the scales (`<name>.scale`), of one with many zeros see `packed`.
    """
    if isinstance(net, Graph):
        return Stored(net.content, net.suffix)
    state: dict[str, Tensor] = {}
    for name, tensor in net.state_dict().items():
        state |= _plain(name, tensor)
    return Stored(save(packed(state)), "safetensors")


def graph_of(content: bytes, suffix: str) -> Graph:
    """Return the graph that a file holds; of the other files see `unpacked`."""
    return (OnnxGraph if suffix == f".{OnnxGraph.suffix}" else TorchGraph)(content)


def packed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors, those with many zeros as a bit per value and the values that are not zero.

    That is done where it takes less room; `unpacked` turns it back.

    >>> {name: len(one) for name, one in packed({"w": torch.tensor([0.0] * 31 + [2.0])}).items()}
    {'w:mask': 4, 'w:values': 1, 'w:shape': 1}
    """
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        mask = tensor != 0
        room = (tensor.numel() + 7) // 8 + int(mask.sum()) * tensor.element_size()
        if room + 8 * tensor.ndim < tensor.nbytes:
            bits = np.packbits(mask.flatten().numpy())
            result[name + MASK] = torch.from_numpy(bits)
            result[name + VALUES] = tensor[mask].contiguous()
            result[name + SHAPE] = torch.tensor(tensor.shape)
        else:
            result[name] = tensor.contiguous()
    return result


def unpacked(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors that `packed` was given, int8 weights as the floats they stand for."""
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.endswith(MASK):
            plain = name.removesuffix(MASK)
            shape = state[plain + SHAPE].tolist()
            bits = np.unpackbits(tensor.numpy(), count=math.prod(shape)).astype(bool)
            whole = torch.zeros(shape, dtype=state[plain + VALUES].dtype)
            whole[torch.from_numpy(bits).view(shape)] = state[plain + VALUES]
            result[plain] = whole
        elif name.endswith(INT8):
            plain = name.removesuffix(INT8)
            result[plain] = tensor * state[plain + SCALE]
        elif not name.endswith((VALUES, SHAPE, SCALE)):
            result[name] = tensor
    return result


def _plain(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """Return a tensor, or those that one of torchao's is made of."""
    if not hasattr(tensor, "__tensor_flatten__"):
        return {name: tensor}
    parts, _ = tensor.__tensor_flatten__()
    return {f"{name}.{part}": getattr(tensor, part) for part in parts}
