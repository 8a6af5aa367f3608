"""Whole channels of smallest norm taken out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from distill_lab.compress.layers import WEIGHTED, reaches, weighted_layers
from distill_lab.compress.pruning import Pruning

PRUNABLE = (*WEIGHTED, nn.BatchNorm1d, nn.BatchNorm2d, nn.Embedding)
"""Layers with weights that may be in the network; embeddings lose no channel."""
BEFORE = "width_before_pruning"
"""Attribute of a layer: its channels before the first round."""


class PruneStructured(Pruning):
    """Channels whose weights have the smallest L2 norm are taken out, in every layer that many.

    Channels that have to go together, as those that a shortcut adds, do. What is
    left is an ordinary, narrower network, with fewer parameters and MACs. In several rounds the
    width shrinks by the same factor in each; what is left of it is rounded to whole channels. The
    logits stay, and so does what a projector ends in, which is as wide as the teacher's features.
    Source: DepGraph, Fang et al. 2023, arXiv:2301.12900, by torch-pruning.

    Args:
        fraction: of the channels of each layer, in (0, 1).
        rounds: >= 1.
        epochs: of training after each round; 0 for none.

    Raises:
        ValueError: a number is out of range.
    """

    def check(self, net: nn.Module, example: Tensor) -> None:
        """Refuse layers that mix their channels, and channels that cannot be followed."""
        for path, module in reversed(list(net.named_modules())):  # the whole network last
            _require_prunable(path, module, _instead(net))
        _require_groups(net, _pruner(net, example, {}))
        _require_widths(net, 1 - self.fraction)

    def begin(self, net: nn.Module, examples: Tensor, number: int) -> nn.Module:
        """Return a copy with fewer channels."""
        copy = deepcopy(net)
        if number == 0:
            for _, layer in _narrowed(copy):
                setattr(layer, BEFORE, len(layer.weight))
        self.check(copy, examples[:1])
        left = self.left_after(number)
        gone: dict[nn.Module, float] = {}
        for _, layer in _narrowed(copy):
            kept = round(left * _width(layer))
            gone[layer] = 1 - (kept + 0.5) / len(layer.weight)  # the library rounds down
        with torch.enable_grad():
            _pruner(copy.eval(), examples[:1], gone).step()
        return copy.train(net.training)


def _require_prunable(path: str, module: nn.Module, instead: str) -> None:
    owns = next(module.parameters(recurse=False), None) is not None
    if owns and not isinstance(module, PRUNABLE):
        names = ", ".join(kind.__name__ for kind in PRUNABLE)
        raise ValueError(
            f"layer {path!r} is a {type(module).__name__}, which mixes its channels; only {names} "
            f"can lose some. {instead}"
        )
    if isinstance(module, nn.Conv1d | nn.Conv2d) and module.groups > 1:
        depthwise = module.groups == module.in_channels == module.out_channels
        if not depthwise:
            raise ValueError(
                f"layer {path!r} is a convolution of {module.groups} groups, whose channels cannot "
                f"be taken out one by one. {instead}"
            )


def _instead(net: nn.Module) -> str:
    """Return what to do with a network that cannot lose channels."""
    if reaches(net, WEIGHTED):
        return "Take compress=[prune_unstructured]."
    return "Leave it out for this network."


def _pruner(net: nn.Module, example: Tensor, gone: dict[nn.Module, float]) -> Any:
    """Return what follows the channels through a network.

    Args:
        net: it is narrowed in place by `step` of what is returned.
        example: (B, ...) inputs.
        gone: share of the channels of a layer.

    Raises:
        ValueError: they cannot be followed.
    """
    import torch_pruning as tp  # takes seconds

    logits = _classifier_of(net)
    norms = tp.importance.GroupMagnitudeImportance(p=2)
    try:
        with torch.enable_grad():
            return tp.pruner.MetaPruner(
                net,
                example,
                importance=tp.importance.RandomImportance() if example.is_meta else norms,
                pruning_ratio=0.0,
                pruning_ratio_dict=gone,
                ignored_layers=_kept(net),
            )
    except Exception as error:  # the library's own code ran on an unknown network
        raise ValueError(
            f"the channels that reach layer {_path_of(net, logits)!r} of {type(net).__name__} "
            f"cannot be followed back ({type(error).__name__}: {error}). {_instead(net)}"
        ) from error


def _classifier_of(net: nn.Module) -> nn.Module:
    """Return the layer whose outputs are the logits: `net.classifier`, or the last one."""
    named = getattr(net, "classifier", None)
    return (
        named if isinstance(named, nn.Module) else [layer for _, layer in weighted_layers(net)][-1]
    )


def _path_of(net: nn.Module, layer: nn.Module) -> str:
    return next(path for path, module in net.named_modules() if module is layer)


def _require_groups(net: nn.Module, pruner: Any) -> None:
    groups = pruner.DG.get_all_groups(pruner.ignored_layers, pruner.root_module_types)
    if next(iter(groups), None) is None:
        path = _path_of(net, _classifier_of(net))
        raise ValueError(
            f"{type(net).__name__} has no layer that could lose channels before {path!r}, which "
            "gives the logits. Take a network with hidden layers."
        )


def _require_widths(net: nn.Module, left: float) -> None:
    """Refuse to take all channels of a layer, and to take none of any."""
    for path, layer in _narrowed(net):
        width = _width(layer)
        if round(left * width) < 1:
            most = (math.ceil(100 - 50 / width) - 1) / 100
            raise ValueError(
                f"layer {path!r}, which has {width}, would lose all its channels. Take a fraction "
                f"of at most {most:g}."
            )
    path, widest = max(_narrowed(net), key=lambda named: _width(named[1]))
    width = _width(widest)
    if round(left * width) == width:
        raise ValueError(
            f"no layer of {type(net).__name__} loses a channel; the widest, {path!r}, has {width}. "
            f"Take a fraction above {0.5 / width:.2g}."
        )


def _narrowed(net: nn.Module) -> Iterator[tuple[str, nn.Linear | nn.Conv1d | nn.Conv2d]]:
    """Yield path and layer of what loses outputs."""
    kept = _kept(net)
    return ((path, one) for path, one in weighted_layers(net) if all(one is not k for k in kept))


def _kept(net: nn.Module) -> list[nn.Module]:
    """Return the layers whose outputs stay: the logits, and a projector's."""
    projector = getattr(net, "projector", None)
    ends = [] if projector is None else [[layer for _, layer in weighted_layers(projector)][-1]]
    return [_classifier_of(net), *ends]


def _width(layer: nn.Linear | nn.Conv1d | nn.Conv2d) -> int:
    width: int = getattr(layer, BEFORE, len(layer.weight))
    return width
