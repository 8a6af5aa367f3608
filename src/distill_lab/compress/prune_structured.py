"""Whole channels of smallest norm taken out."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from distill_lab.compress.base import Step
from distill_lab.compress.layers import WEIGHTED, weighted_layers
from distill_lab.compress.ranges import require_fraction, require_rounds

PRUNABLE = (*WEIGHTED, nn.BatchNorm1d, nn.BatchNorm2d, nn.Embedding)
"""Layers with weights that lose a channel without changing what the others say."""


class PruneStructured(Step):
    """Channels whose weights have the smallest L2 norm are taken out, in every layer that many.

    Channels that have to go together, as those that a shortcut adds, do; the logits stay. What is
    left is an ordinary, narrower network, with fewer parameters and MACs. In several rounds the
    width shrinks by the same factor in each, rounded to whole channels.
    Source: DepGraph, Fang et al. 2023, arXiv:2301.12900, by torch-pruning.

    Args:
        fraction: of the channels of each layer, in (0, 1).
        rounds: >= 1.
        epochs: of training after each round; 0 for none.

    Raises:
        ValueError: a number is out of range.
    """

    def __init__(self, fraction: float, rounds: int, epochs: int) -> None:
        require_fraction("fraction", fraction)
        require_rounds(rounds, epochs)
        self.fraction = fraction
        self.rounds = rounds
        self.epochs = epochs

    def check(self, net: nn.Module, example: Tensor) -> None:
        """Refuse layers that mix their channels, and channels that cannot be followed."""
        for path, module in reversed(list(net.named_modules())):  # the whole network last
            _require_prunable(path, module)
        _require_groups(net, _pruner(net, example, self.fraction))

    def begin(self, net: nn.Module, examples: Tensor, number: int) -> nn.Module:
        """Return a copy with fewer channels."""
        self.check(net, examples[:1])
        copy = deepcopy(net)
        training = copy.training
        gone = 1 - (1 - self.fraction) ** (1 / self.rounds)
        with torch.enable_grad():
            _pruner(copy.eval(), examples[:1], gone).step()
        _require_narrower(net, copy)
        return copy.train(training)


def _require_prunable(path: str, module: nn.Module) -> None:
    owns = next(module.parameters(recurse=False), None) is not None
    if owns and not isinstance(module, PRUNABLE):
        names = ", ".join(kind.__name__ for kind in PRUNABLE)
        raise ValueError(
            f"layer {path!r} is a {type(module).__name__}, which mixes its channels; only {names} "
            "can lose some. Take compress=[prune_unstructured]."
        )
    if isinstance(module, nn.Conv1d | nn.Conv2d) and module.groups > 1:
        depthwise = module.groups == module.in_channels == module.out_channels
        if not depthwise:
            raise ValueError(
                f"layer {path!r} is a convolution of {module.groups} groups, whose channels cannot "
                "be taken out one by one. Take compress=[prune_unstructured]."
            )


def _pruner(net: nn.Module, example: Tensor, fraction: float) -> Any:
    """Return what follows the channels through a network.

    Raises:
        ValueError: they cannot be followed.
    """
    import torch_pruning as tp  # takes seconds

    logits = _classifier_of(net)
    try:
        with torch.enable_grad():
            return tp.pruner.MetaPruner(
                net,
                example,
                importance=tp.importance.GroupMagnitudeImportance(p=2),
                pruning_ratio=fraction,
                ignored_layers=[logits],
            )
    except Exception as error:  # the library's own code ran on an unknown network
        raise ValueError(
            f"the channels that reach layer {_path_of(net, logits)!r} of {type(net).__name__} "
            f"cannot be followed back ({type(error).__name__}: {error}). "
            "Take compress=[prune_unstructured]."
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


def _require_narrower(before: nn.Module, after: nn.Module) -> None:
    counts = [sum(p.numel() for p in net.parameters()) for net in (before, after)]
    if counts[1] == counts[0]:
        path, layer = next(weighted_layers(before))
        raise ValueError(
            f"no layer of {type(before).__name__} has a channel to spare; the first, {path!r}, has "
            f"{len(layer.weight)}. Take a wider network."
        )
