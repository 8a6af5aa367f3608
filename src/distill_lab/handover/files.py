"""The files of a hand-over, each held against the network in PyTorch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from distill_lab.compress.export_torch import TorchGraph
from distill_lab.compress.graph import Graph
from distill_lab.compress.onnx_graph import OnnxGraph
from distill_lab.contracts import Arrays, DataInfo, Stored
from distill_lab.handover.copies import TOLERANCE, Alike, compared
from distill_lab.models.deployed import Deployed

CHUNK = 256  # samples at a time
NUM_EXAMPLES = 2  # as many as MLflow's example has
PT2, ONNX, EXAMPLE = "student.pt2", "student.onnx", "example.json"


@dataclass
class Copies:
    """A network as files.

    Attributes:
        files: name -> content.
        alike: name -> how it answers, over the test split.
        not_made: name -> why not.
        said: (N,) classes that the network says of the test split.
    """

    files: dict[str, bytes]
    alike: dict[str, Alike] = field(default_factory=dict)
    not_made: dict[str, str] = field(default_factory=dict)
    said: Tensor = field(default_factory=lambda: torch.empty(0))


def copies_of(net: Deployed, pt2: bytes, train: Arrays, test: Arrays, info: DataInfo) -> Copies:
    """Export a student and hold what came out against it, on the whole test split.

    Args:
        net: in eval mode, on the CPU.
        pt2: content of its file in the pt2 format.
        train: two of its inputs become an example.
        test: every copy is asked about all of it.
        info: of the dataset; students may have columns to themselves.

    Raises:
        ValueError: what the pt2 file says is not what the network says.
    """
    example = own_inputs(train.inputs[:NUM_EXAMPLES], info)
    made = Copies({PT2: pt2, EXAMPLE: json.dumps({"inputs": example.tolist()}).encode()})
    graphs: dict[str, Graph] = {PT2: TorchGraph(pt2)}
    try:
        graphs[ONNX] = OnnxGraph.of(net, example)
    except ValueError as error:
        made.not_made[ONNX] = str(error).removesuffix(" Take compress=[export_torch].")
    made.alike, made.said = compared(net, graphs, _chunks(test.inputs, info))
    if not made.alike[PT2].within_tolerance:
        raise ValueError(f"{PT2}: {_far(made.alike[PT2])}.")
    if ONNX in graphs and made.alike[ONNX].within_tolerance:
        made.files[ONNX] = graphs[ONNX].content
    elif ONNX in graphs:
        made.not_made[ONNX] = _far(made.alike.pop(ONNX))
    return made


def own_inputs(inputs: Tensor, info: DataInfo) -> Tensor:
    """Return the columns of rows that a student reads; all of them where it has none of its own."""
    return inputs if info.of_students is None else inputs[:, info.of_students.start :].contiguous()


def _chunks(inputs: Tensor | Stored, info: DataInfo) -> Iterator[Tensor]:
    return (own_inputs(chunk, info) for chunk in inputs.split(CHUNK))


def _far(found: Alike) -> str:
    return (
        f"on the test split a logit differs from the network's by {found.difference:.1e} of the "
        f"largest, more than {TOLERANCE:.0e}"
    )
