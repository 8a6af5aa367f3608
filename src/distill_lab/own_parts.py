"""Parts of your own are made once before a run: what is wrong with them is told by name."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import isclass
from typing import Any

import torch
from torch import nn

from distill_lab.contracts import Component, DataInfo, placeholder
from distill_lab.losses.base import Loss
from distill_lab.own_code import module_file

KINDS: dict[str, tuple[type, str]] = {
    "teacher": (nn.Module, "a network, torch's nn.Module"),
    "student": (nn.Module, "a network, torch's nn.Module"),
    "loss": (Loss, "a loss term, distill_lab.losses.base.Loss"),
}
"""Section -> what a class in it must be; of data `info` and `load` are asked."""


def is_own(component: Component) -> bool:
    """Tell whether a part is code of your own."""
    return module_file(component.target.rpartition(".")[0]) is not None


def made_by_own_code(
    path: str, component: Component, info: DataInfo | None
) -> tuple[Any, list[str]]:
    """Import a class of your own, hold it against its place and make it; run a network once.

    Args:
        path: dotted key of the part.
        component: the part.
        info: of the data that a network is made for; None for other parts.

    Returns:
        The part, a network on the meta device; or None, and one sentence on what is wrong.
    """
    try:
        fault = _wrong_kind(path, component.imported)
        if fault is not None:
            return None, [f"{path}._target_: must be {fault}, got {component.target!r}."]
        if info is None:
            made = component.make()
            return (made.info and made if path == "data" else made), []
        net = component.make_network(info)
        faults = list(_wrong_answers(path, net, component, info))
        return (None, faults) if faults else (net.to("meta"), [])
    except Exception as error:  # of code that is not ours
        what = " ".join(str(error).split())
        names_key = isinstance(error, ValueError) and what.partition(":")[0] in component.args
        if names_key:
            return None, [f"{path}.{what}"]
        return None, [f"{path}._target_: {component.target}: {type(error).__name__}: {what}"]


def _wrong_kind(path: str, found: Any) -> str | None:
    """Return what it should be; None where it is that. Nothing is called."""
    if path == "data":
        return (
            None if isclass(found) and hasattr(found, "load") else "a dataset, with info and load"
        )
    kind, what = KINDS[path.partition(".")[0]]
    return None if isclass(found) and issubclass(found, kind) else what


def _wrong_answers(
    path: str, net: nn.Module, component: Component, info: DataInfo
) -> Iterator[str]:
    was_training = net.training
    with torch.no_grad():
        said = net.eval()(placeholder(net, info.input_shape, batch_size=2))
    net.train(was_training)
    wanted = (2, info.num_classes)
    shape = tuple(said.shape) if isinstance(said, torch.Tensor) else type(said).__name__
    if shape != wanted:
        yield (
            f"{path}._target_: {component.target} must return logits (B, {info.num_classes}), it "
            f"returns {shape} for two inputs of {info.name}."
        )
