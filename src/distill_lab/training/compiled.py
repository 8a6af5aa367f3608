"""Networks that are compiled while one trains and are themselves again afterwards."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from distill_lab.errors import RunError


@contextmanager
def compiled(networks: Sequence[nn.Module], device: torch.device) -> Iterator[None]:
    """Compile networks in place: their parameters, the names of these and their classes stay.

    Args:
        networks: compiled when first called, once for training and once for evaluation.
        device: where they will run.

    Raises:
        RunError: the device is the CPU and there is no C++ compiler.
    """
    if not networks:
        yield
        return
    if device.type == "cpu":
        _require_compiler()
    # All networks share a limit of compiled variants, beyond which torch silently compiles no more.
    torch.compiler.reset()
    for net in networks:
        net.compile()
    with (
        # By default torch uses a graph that it compiled without hooks with them too: no taps.
        torch._dynamo.config.patch(skip_nnmodule_hook_guards=False),
        # And it reuses a graph's memory on the way back, where some steps go through it twice.
        torch._functorch.config.patch(donated_buffer=False),
    ):
        try:
            yield
        finally:
            for net in networks:
                del net._compiled_call_impl


def _require_compiler() -> None:
    """Look for what Inductor will call, by the same names."""
    name = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(name) is None:
        raise RunError(
            f"hardware.compile: needs a C++ compiler, and there is no {name!r}. Install one "
            "(Debian: apt-get install g++), name another in the environment variable CXX, or set "
            "hardware.compile=false."
        )
