"""A network in an ONNX file, run by ONNX Runtime on the CPU."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from distill_lab.compress.export_torch import exported
from distill_lab.compress.graph import Graph

INPUT, OUTPUT = "inputs", "logits"


class OnnxGraph(Graph):
    """A network read from an `.onnx` file.

    Args:
        content: of the file; takes `inputs` (B, ...) and gives `logits` (B, K).
    """

    runtime = "ONNX Runtime"
    suffix = "onnx"

    def __init__(self, content: bytes) -> None:
        super().__init__()
        import onnxruntime

        self.content = content
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self._session: Any = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )

    @property
    def weights(self) -> None:
        """None: ONNX Runtime cannot be looked into."""

    @classmethod
    def of(cls, net: nn.Module, examples: Tensor) -> OnnxGraph:
        """Return the network in float32 as ONNX Runtime runs it."""
        content = onnx_content(net, examples)
        with expressible(net):
            return cls(content)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of normalised inputs (B, ...) on the CPU."""
        (logits,) = self._session.run([OUTPUT], {INPUT: inputs.numpy()})
        return torch.from_numpy(logits)


def onnx_content(net: nn.Module, examples: Tensor) -> bytes:
    """Return a network as the bytes of an ONNX file, the number of samples being free.

    Args:
        net: maps (B, ...) to (B, K); batch norm is folded into the layers before it.
        examples: (N, ...) inputs, N >= 2.

    Raises:
        ValueError: it cannot be exported; names the layer that was reached.
    """
    graph = exported(net, examples)
    with warnings.catch_warnings(), expressible(net, graph):
        warnings.filterwarnings("ignore", "_check_is_size will be removed", FutureWarning)
        program = torch.onnx.export(
            graph, input_names=[INPUT], output_names=[OUTPUT], dynamo=True, verbose=False
        )
    assert program is not None
    model = program.model_proto
    for node in model.graph.node:  # which lines of code, in which folders, each comes from
        node.ClearField("metadata_props")
    content: bytes = model.SerializeToString()
    return content


@contextmanager
def expressible(net: nn.Module, graph: ExportedProgram | None = None) -> Iterator[None]:
    """Let what ONNX or its runtime has no operator for be told as a fault of the network."""
    try:
        yield
    except Exception as error:  # the libraries' own code ran on an unknown network
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise ValueError(
            f"{type(net).__name__} cannot be held by ONNX{_layer_of(reason, graph)}: "
            f"{type(error).__name__}: {reason} Take compress=[export_torch]."
        ) from error


def _layer_of(reason: str, graph: ExportedProgram | None) -> str:
    """Return the layer of the operator that the exporter speaks of; "" where it is not known."""
    named = re.search(r"node %(\w+)", reason)
    nodes = graph.run_decompositions().graph.nodes if named and graph is not None else ()
    for node in nodes:
        if named and node.name == named[1] and node.meta.get("nn_module_stack"):
            path, _ = list(node.meta["nn_module_stack"].values())[-1]
            return f"; layer {path.removeprefix('net.')!r} was reached"
    return ""
