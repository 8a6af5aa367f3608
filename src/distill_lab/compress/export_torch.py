"""torch.export: the network as a graph of operators in a `.pt2` file."""

from __future__ import annotations

import io
import warnings
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from distill_lab.compress.base import Step
from distill_lab.compress.graph import Graph
from distill_lab.compress.ranges import require_tolerance


class ExportTorch(Step):
    """The network as torch.export sees it, saved and loaded again; int8 layers of torchao too.

    The file takes normalised inputs (B, ...), B free. It is read without this package; with layers
    of torchao, where that is installed.

    Args:
        tolerance: > 0, largest difference of a logit, as a share of the largest logit.

    Raises:
        ValueError: a number is out of range.
    """

    takes = ("float", "int8")
    gives = "graph"

    def __init__(self, tolerance: float) -> None:
        require_tolerance(tolerance)
        self.tolerance = tolerance

    def check(self, net: nn.Module, example: Tensor) -> None:
        """Refuse nothing: what cannot be exported is found when it is."""

    def begin(self, net: nn.Module, examples: Tensor, number: int) -> nn.Module:
        """Return the exported network, read back from its file."""
        return TorchGraph.of(net, examples)


class TorchGraph(Graph):
    """A network read from a `.pt2` file.

    Args:
        content: of the file.
    """

    runtime = "torch.export"
    suffix = "pt2"

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.content = content
        exported = torch.export.load(io.BytesIO(content))
        program = exported.module()
        self._program = (program,)  # in a tuple: a module inside would refuse to change its mode
        buffers = dict(program.named_buffers())  # those that are not saved are constants as well
        self._constants = [
            one
            for name, one in exported.constants.items()
            if isinstance(one, Tensor) and name not in buffers
        ]

    @property
    def weights(self) -> list[Tensor]:
        """Parameters, buffers and constants of the program."""
        program = self._program[0]
        return [*program.parameters(), *program.buffers(), *self._constants]

    @classmethod
    def of(cls, net: nn.Module, examples: Tensor) -> TorchGraph:
        """Return the exported network, read back from its file."""
        file = io.BytesIO()
        torch.export.save(exported(net, examples), file)
        return cls(file.getvalue())

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of normalised inputs (B, ...)."""
        logits: Tensor = self._program[0](inputs)
        return logits


def exported(net: nn.Module, examples: Tensor) -> ExportedProgram:
    """Return a network in eval mode as a graph, the number of samples being free.

    Args:
        net: maps (B, ...) to (B, K); it is left as it is.
        examples: (N, ...) inputs, N >= 2.

    Raises:
        ValueError: it cannot be exported; names the layer that was reached.
    """
    whole = _Whole(deepcopy(net).eval())
    reached = [""]
    for path, module in whole.net.named_modules():
        module.register_forward_pre_hook(partial(_note, reached, path))
    try:
        with warnings.catch_warnings():
            # Recurrent layers keep a list of their weights beside the weights; the graph has these.
            warnings.filterwarnings("ignore", r"The tensor attributes .*_flat_weights", UserWarning)
            warnings.filterwarnings("ignore", "_check_is_size will be removed", FutureWarning)
            return torch.export.export(whole, (examples[:4],), dynamic_shapes=({0: Dim("batch")},))
    except Exception as error:  # the network's own code ran on stand-ins
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"{type(net).__name__} cannot be exported; layer {reached[-1]!r} was reached: "
            f"{type(error).__name__}: {reason}"
        ) from error


def _note(reached: list[str], path: str, module: nn.Module, given: tuple[Any, ...]) -> None:
    reached.append(path)


class _Whole(nn.Module):
    """A network as part of another one, so that what is hooked to it is exported with it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, inputs: Tensor) -> Any:
        return self.net(inputs)
