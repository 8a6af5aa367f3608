"""Which layers of a network hold its weights, and whether a method reaches enough of them."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d)
"""Layers that are products of inputs and weights."""
LEAST = 0.5  # share of the weights below which a network is not called treated


def weighted_layers(net: nn.Module) -> Iterator[tuple[str, nn.Linear | nn.Conv1d | nn.Conv2d]]:
    """Yield path and layer of each convolution and linear layer, in order of definition."""
    for path, module in net.named_modules():
        if isinstance(module, WEIGHTED):
            yield path, module


def require_reach(net: nn.Module, kinds: tuple[type[nn.Module], ...]) -> None:
    """Refuse a network most of whose weights lie in layers that a method does not treat.

    Embeddings do not count: no pass multiplies by them.

    Args:
        net: any network.
        kinds: the layers that are treated.

    Raises:
        ValueError: less than half of the weights are in such layers; names the largest other one.
    """
    if reaches(net, kinds):
        return
    passed_over = (*kinds, nn.Embedding)
    others = {path: m for path, m in net.named_modules() if not isinstance(m, passed_over)}
    path, layer = max(others.items(), key=lambda item: _num_own(item[1]))
    names, share = ", ".join(kind.__name__ for kind in kinds), _reach(net, kinds)
    instead = (
        "Take compress=[quantize_onnx], which treats convolutions too."
        if reaches(net, WEIGHTED)
        else "Leave it out for this network."
    )
    raise ValueError(
        f"treats {names}, which hold {share:.1%} of the weights of {type(net).__name__}; the "
        f"largest other layer is {path!r} ({type(layer).__name__}). {instead}"
    )


def reaches(net: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Tell whether such layers hold half of the weights, so that treating them is worth it."""
    return _reach(net, kinds) >= LEAST


def _reach(net: nn.Module, kinds: tuple[type[nn.Module], ...]) -> float:
    """Return the share of the weights that such layers hold; embeddings, looked up, aside."""
    multiplied = [module for module in net.modules() if not isinstance(module, nn.Embedding)]
    reached = sum(_num_own(m) for m in multiplied if isinstance(m, kinds))
    return reached / max(sum(map(_num_own, multiplied)), 1)


def _num_own(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters(recurse=False))
