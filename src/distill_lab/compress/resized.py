"""A network as its weights say it is: narrower than its architecture, where it was pruned."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

from torch import Tensor, nn


def resized(net: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy of a network that has these weights, whatever their shapes.

    Args:
        net: of the architecture that they were pruned from; it is left as it is.
        state: every parameter and buffer by name.

    Raises:
        KeyError: one of them is missing.
    """
    copy = deepcopy(net)
    for path, module in copy.named_modules():
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            full = f"{path}.{name}".lstrip(".")
            if tensor is not None and name not in module._non_persistent_buffers_set:
                tensor.data = state[full].clone()
        _tell_sizes(module)
    return copy


def _tell_sizes(module: nn.Module) -> None:
    """Let a layer's numbers say what the shapes of its weights say."""
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.Conv1d | nn.Conv2d):
        depthwise = module.groups == module.in_channels > 1
        module.out_channels, per_group = module.weight.shape[:2]
        module.groups = module.out_channels if depthwise else module.groups
        module.in_channels = per_group * module.groups
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        module.num_features = len(module.weight)
    elif isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = module.weight.shape
