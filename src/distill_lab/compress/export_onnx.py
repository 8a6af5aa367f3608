"""ONNX: the network as a file that other programs run."""

from __future__ import annotations

from torch import Tensor, nn

from distill_lab.compress.base import Step
from distill_lab.compress.onnx_graph import OnnxGraph
from distill_lab.compress.ranges import require_tolerance


class ExportOnnx(Step):
    """The network in ONNX, in float32, run by ONNX Runtime.

    The file takes normalised inputs (B, ...), B free.

    Args:
        tolerance: > 0, largest difference of a logit, as a share of the largest logit.

    Raises:
        ValueError: a number is out of range.
    """

    gives = "graph"

    def __init__(self, tolerance: float) -> None:
        require_tolerance(tolerance)
        self.tolerance = tolerance

    def check(self, net: nn.Module, example: Tensor) -> None:
        """Refuse nothing: what cannot be exported is found when it is."""

    def begin(self, net: nn.Module, examples: Tensor, number: int) -> nn.Module:
        """Return the network as ONNX Runtime runs it."""
        return OnnxGraph.of(net, examples)
