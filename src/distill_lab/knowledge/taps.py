"""Features of any network by module path, read through forward hooks."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from distill_lab.contracts import Output, Shapes, placeholder
from distill_lab.knowledge.collectors import COLLECTORS, Keep
from distill_lab.knowledge.collectors import output as _output
from distill_lab.knowledge.token_grid import grid_around, laid_out

MAP = "map"
KINDS = (*COLLECTORS, MAP)


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
    """Make sure that every name is the path of a module of the network, and a kind after a colon.

    Raises:
        ValueError: a name is not; the nearest existing paths, or the kinds, are listed.
    """
    for name in names:
        path, colon, kind = name.partition(":")
        if colon and kind not in KINDS:
            known = ", ".join(f"{path}:{key}" for key in KINDS)
            raise ValueError(f"taps: must be a module path or {known}, got {name!r}.")
        if not _is_module(net, path):
            paths = [path for path, _ in net.named_modules() if path]
            close = ", ".join(repr(path) for path in difflib.get_close_matches(path, paths, 3, 0.0))
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


def classifier_of(net: nn.Module) -> nn.Linear | None:
    """Return the layer that gives the logits: `net.classifier`, or else the last linear one.

    None where there is none, or where a network says so by a `classifier` of None.
    """
    named = getattr(net, "classifier", None)
    if isinstance(named, nn.Linear):
        return named
    if named is None and hasattr(net, "classifier"):
        return None
    linear = [module for module in net.modules() if isinstance(module, nn.Linear)]
    return linear[-1] if linear else None


def forward_with_taps(net: nn.Module, inputs: Any, taps: list[str]) -> Output:
    """Run the network once and keep what passes some of its modules.

    A tap is the path of a module, whose output is kept, or a path and a kind:

    - `path:input`: what the module is given first;
    - `path:preactivation`: what the last activation inside the module is given;
    - `path:attention`: attention maps (B, heads, L, L) of the last attention inside it;
    - `path:qkv`: its queries, keys and values side by side, (B, L, 3 D);
    - `path:map`: its output, tokens that are patches of an image, as (B, D, rows, columns). The
      network says by `token_grid` how many rows and columns there are.

    Features keep their graph where gradients are on. Of a module that returns a tuple the first
    entry is kept, and of one that runs several times the last. An output that is changed in place
    by what follows (`ReLU(inplace=True)`) shows the changed values; the other kinds do not.

    Args:
        net: returns (B, K) logits; its mode is left as it is.
        inputs: (B, ...) tensor, or what else the network takes as its one argument.
        taps: see `check_taps`.

    Raises:
        ValueError: a path is wrong, or nothing of that kind passed the module.
    """
    if not taps:
        return Output(net(inputs))
    output = _forward(net, inputs, taps)
    for name in taps:
        if name not in output.features:
            raise ValueError(f"taps: {_lacking(net, name)}")
    return output


def _lacking(net: nn.Module, name: str) -> str:
    """Say why nothing was kept for a tap, and what to do."""
    path, _, kind = name.partition(":")
    whose = f"{path!r} of {type(net).__name__}"
    if kind == MAP:
        return (
            f"{whose} has no tokens that are patches on a grid, which alone are laid out as a map. "
            f"Write {path!r} for what it returns."
        )
    lacking = f"shows no {kind}" if kind else "was not run in the forward pass"
    return f"{whose} {lacking}. Choose a module inside or around it."


def _forward(net: nn.Module, inputs: Any, taps: list[str]) -> Output:
    """Run the network and keep those of the taps that something passed."""
    check_taps(net, taps)
    features: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for name in taps:
            path, _, kind = name.partition(":")
            collect, keep = COLLECTORS.get(kind, _output), _keeper(features, name)
            if kind == MAP:
                keep = laid_out(keep, grid_around(net, path))
            stack.enter_context(collect(net.get_submodule(path), keep))
        logits = net(inputs)
    return Output(logits, {name: features[name] for name in taps if name in features})


def _keeper(features: dict[str, Tensor], name: str) -> Keep:
    def keep(feature: Tensor) -> None:
        features[name] = feature

    return keep


def tap_shapes(
    net: nn.Module,
    input_shape: tuple[int, ...],
    taps: list[str],
    batch_size: int = 2,
    pass_over: bool = False,
) -> Shapes:
    """Return the shape of each tap's features, batch axis included.

    Runs a placeholder through the network on its own device, which may be `meta`, without gradients
    and in eval mode; the mode of every module is restored.

    Args:
        net: the network.
        input_shape: of one input, no batch axis.
        taps: see `forward_with_taps`.
        batch_size: B of the shapes returned.
        pass_over: leave out taps that nothing passes, which is an error otherwise.

    Raises:
        ValueError: see `forward_with_taps`.
    """
    if not taps:
        return {}
    inputs = placeholder(net, input_shape, batch_size)
    with _eval_mode(net), torch.no_grad():
        output = (_forward if pass_over else forward_with_taps)(net, inputs, taps)
    return {name: tuple(feature.shape) for name, feature in output.features.items()}


@contextmanager
def _eval_mode(net: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
