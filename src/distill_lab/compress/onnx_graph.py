"""A network in an ONNX file, run by ONNX Runtime on the CPU."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

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
    with warnings.catch_warnings():
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
