"""A hand-over as a network again: safetensors hold weights alone, the code is this package's."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from distill_lab.contracts import Component, DataInfo
from distill_lab.models.deployed import Deployed

CONFIG = "config.json"
WEIGHTS = "student.safetensors"


def load_student(folder: str | Path) -> Deployed:
    """Return the student of a hand-over, in eval mode: un-normalised inputs in, logits out.

    A network of your own has to be importable, as it was when it was trained.

    Args:
        folder: holds `config.json` and `student.safetensors`.
    """
    config = json.loads((Path(folder) / CONFIG).read_text(encoding="utf-8"))
    listed = config["data"].items()
    known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in listed}
    info = DataInfo(**known)
    net = Component(**config["architecture"]).make_network(info)
    net.load_state_dict(load_file(Path(folder) / WEIGHTS))
    return Deployed(net, info).eval()


def described(architecture: Component, info: DataInfo) -> dict[str, Any]:
    """Return what `load_student` and the examples read of `config.json`, as plain values.

    Args:
        architecture: of the student.
        info: of the columns that it reads.
    """
    data = asdict(info)
    del data["of_students"]
    return {
        "architecture": {"target": architecture.target, "args": architecture.args},
        "data": data,
        "dtype": "float32" if info.vocabulary_size is None else "int64",
    }
