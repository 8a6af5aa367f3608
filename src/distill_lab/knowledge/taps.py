"""Features of any network by module path, read through forward hooks."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from distill_lab.contracts import Output, Shapes


def default_taps(net: nn.Module) -> list[str]:
    """Return the taps of a network for which the user named none, in order of definition.

    These are `net.taps` where the network has it. Otherwise its direct children, with each
    `Sequential` and `ModuleList` replaced by its own children, without the last linear layer:
    that one gives the logits.
    """
    declared: Any = getattr(net, "taps", None)
    if declared is not None:
        return list(declared)
    modules: dict[str, nn.Module] = {}
    for name, child in net.named_children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            modules |= {f"{name}.{inner}": module for inner, module in child.named_children()}
        else:
            modules[name] = child
    linear = [name for name, module in modules.items() if isinstance(module, nn.Linear)]
    return [name for name in modules if name not in linear[-1:]]


def check_taps(net: nn.Module, names: list[str]) -> None:
    """Make sure that every name is the path of a module of the network.

    Raises:
        ValueError: a name is not; the nearest existing paths are listed.
    """
    for name in names:
        if not _is_module(net, name):
            known = [path for path, _ in net.named_modules() if path]
            close = ", ".join(repr(path) for path in difflib.get_close_matches(name, known, 3, 0.0))
            raise ValueError(
                f"taps: must be module paths of {type(net).__name__}, got {name!r}. "
                f"The nearest are {close or 'none: it has no modules'}."
            )


def _is_module(net: nn.Module, path: str) -> bool:
    """Tell without listing all modules: this is asked in every step."""
    try:
        return path != "" and net.get_submodule(path) is not None
    except AttributeError:
        return False


def forward_with_taps(net: nn.Module, inputs: Any, taps: list[str]) -> Output:
    """Run the network once and keep the outputs of some of its modules.

    Features keep their graph where gradients are on. Of a module that returns a tuple the first
    entry is kept, and of one that runs several times the last output. A feature that is changed in
    place by what follows (`ReLU(inplace=True)`) shows the changed values.

    Args:
        net: returns (B, K) logits; its mode is left as it is.
        inputs: (B, ...) tensor, or what else the network takes as its one argument.
        taps: module paths, see `check_taps`.

    Raises:
        ValueError: a path is wrong, or the module took no part in the forward pass.
    """
    if not taps:
        return Output(net(inputs))
    check_taps(net, taps)
    features: dict[str, Tensor] = {}
    with _hooks(net, taps, features):
        logits = net(inputs)
    for name in taps:
        if name not in features:
            raise ValueError(
                f"taps: {name!r} of {type(net).__name__} was not run in the forward pass. "
                "Choose a module inside or around it."
            )
    return Output(logits, {name: features[name] for name in taps})


def tap_shapes(
    net: nn.Module, input_shape: tuple[int, ...], taps: list[str], batch_size: int = 2
) -> Shapes:
    """Return the shape of each tap's features, batch axis included.

    Runs zeros through the network on its own device, which may be `meta`, without gradients and in
    eval mode; the mode of every module is restored.

    Args:
        net: the network.
        input_shape: of one input, no batch axis.
        taps: module paths, see `check_taps`.
        batch_size: B of the shapes returned.

    Raises:
        ValueError: see `forward_with_taps`.
    """
    if not taps:
        return {}
    weight = next((p for p in net.parameters() if p.is_floating_point()), torch.empty(0))
    inputs = torch.zeros(batch_size, *input_shape, device=weight.device, dtype=weight.dtype)
    with _eval_mode(net), torch.no_grad():
        output = forward_with_taps(net, inputs, taps)
    return {name: tuple(feature.shape) for name, feature in output.features.items()}


@contextmanager
def _hooks(net: nn.Module, taps: list[str], features: dict[str, Tensor]) -> Iterator[None]:
    def keep(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            features[name] = output[0] if isinstance(output, tuple) else output

        return hook

    handles = [net.get_submodule(name).register_forward_hook(keep(name)) for name in taps]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _eval_mode(net: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
