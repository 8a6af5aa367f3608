"""How a job gets from one process of a group to the others."""

from __future__ import annotations

import io
import pickle
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.utils import parametrize

from distill_lab.errors import RunError

CHUNK = 2**28  # bytes that are sent at once


def packed(job: Any) -> bytearray:
    """Return a job as bytes.

    Raises:
        RunError: it has something that cannot leave this process.
    """
    buffer = io.BytesIO()
    try:
        torch.save(job, buffer, _PICKLE, pickle.DEFAULT_PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise RunError(
            "hardware.devices: the training cannot be sent to further processes: "
            f"{' '.join(str(error).split())}. Set hardware=cpu or gpu."
        ) from error
    return bytearray(buffer.getbuffer())


def send(job: bytearray) -> None:
    """Send a packed job from process 0 to all others."""
    dist.broadcast(torch.tensor(len(job)), 0)
    for part in torch.frombuffer(job, dtype=torch.uint8).split(CHUNK):
        dist.broadcast(part, 0)


def receive() -> Any:
    """Return the job that process 0 sends."""
    size = torch.tensor(0)
    dist.broadcast(size, 0)
    job = torch.empty(int(size), dtype=torch.uint8)
    for part in job.split(CHUNK):
        dist.broadcast(part, 0)
    return unpacked(job.numpy().data)


def unpacked(job: bytearray | memoryview) -> Any:
    """Return what was packed, a moment ago and by this program: it may hold code of any kind."""
    return torch.load(io.BytesIO(job), weights_only=False)


class _Pickler(pickle.Pickler):
    """Pickles what pickle itself cannot, or finds in a wrong place.

    Layers whose weights are computed have a class that torch makes on the fly. A layout of memory
    is called `torch.something`, which pickle takes for a name in the first module that has torch.
    """

    def reducer_override(self, obj: Any) -> Any:
        """Return how such an object is made again; others as ever."""
        if isinstance(obj, torch.memory_format):
            return _layout, (str(obj).removeprefix("torch."),)
        if not isinstance(obj, nn.Module) or "parametrizations" not in obj._modules:
            return NotImplemented
        return _parametrized, (parametrize.type_before_parametrizations(obj), obj.__dict__)


_PICKLE = SimpleNamespace(**{**vars(pickle), "Pickler": _Pickler})


def _layout(name: str) -> Any:
    return getattr(torch, name)


def _parametrized(kind: type[nn.Module], state: dict[str, Any]) -> nn.Module:
    module = kind.__new__(kind)
    module.__dict__ = state
    parametrize._inject_new_class(module)
    for name in module.parametrizations:  # type: ignore[union-attr]
        parametrize._inject_property(module, name)
    return module
