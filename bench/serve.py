"""A loop's side of the bench: get ready, then train an epoch each time one is asked for.

Light, because the process of torchdistill imports it in an environment of its own.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable
from typing import Any

KIB_PER_MIB = 1024


def serve(make: Callable[[], Callable[[], dict[str, Any]]]) -> None:
    """Answer each line of standard input with a line of JSON; whatever else prints goes to stderr.

    Args:
        make: gets the loop ready; what it returns trains, and says how fast.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    repeat = make()
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for _ in sys.stdin:
        answer = {**repeat(), "peak_memory_mib": peak_memory_mib()}
        print(json.dumps(answer), file=answers, flush=True)


def peak_memory_mib() -> float:
    """Largest resident set of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_MIB


def settle(num_threads: int) -> None:
    """Fix threads and seed."""
    import torch

    torch.set_num_threads(num_threads)
    torch.manual_seed(0)
