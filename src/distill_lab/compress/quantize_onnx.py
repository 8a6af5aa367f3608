"""ONNX in int8: weights and activations, with ranges measured beforehand."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from torch import Tensor, nn

from distill_lab.compress.base import Step
from distill_lab.compress.layers import WEIGHTED, require_reach
from distill_lab.compress.onnx_graph import INPUT, OnnxGraph, expressible, onnx_content

TREATED = ["Conv", "Gemm", "MatMul"]
"""ONNX's names of the operators that hold weights; others stay in float32."""
BATCH = 64  # calibration samples at once


class QuantizeOnnx(Step):
    """Convolutions and matrix products in int8, run by ONNX Runtime.

    Weights are symmetric with a scale per channel. The range of each activation is that of the
    calibration samples, smallest to largest value (static quantization, QDQ form).
    Source: Jacob et al. 2018, arXiv:1712.05877; `onnxruntime.quantization.quantize_static`.

    Args:
        num_samples: of the training split that ranges are measured on, >= 2.

    Raises:
        ValueError: a number is out of range.
    """

    takes = ("float", "grid")
    gives = "graph"
    makes_int8 = True

    def __init__(self, num_samples: int) -> None:
        if num_samples < 2:
            raise ValueError(f"num_samples: must be >= 2, got {num_samples!r}.")
        self.num_examples = num_samples

    def check(self, net: nn.Module, example: Tensor) -> None:
        """Refuse a network most of whose weights are in other layers."""
        require_reach(net, WEIGHTED)

    def begin(self, net: nn.Module, examples: Tensor, number: int) -> nn.Module:
        """Return the network in int8 as ONNX Runtime runs it."""
        self.check(net, examples)
        content = onnx_content(net, examples)
        with expressible(net):
            return OnnxGraph(quantized(content, examples))


def quantized(content: bytes, samples: Tensor) -> bytes:
    """Return an ONNX file with int8 weights and activations.

    Args:
        content: of a float32 file.
        samples: (N, ...) inputs that the ranges of activations are measured on.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Samples(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches: Iterator[Tensor] = iter(samples.split(BATCH))

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {INPUT: batch.numpy()}

    with TemporaryDirectory() as folder, _quiet():
        before, after = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        before.write_bytes(content)
        quantize_static(
            before,
            after,
            Samples(),
            op_types_to_quantize=TREATED,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )
        return after.read_bytes()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep advice to prepare the file, which the exporter has done, off the terminal."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
