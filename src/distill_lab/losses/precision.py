"""The precision losses are computed in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def wide(tensor: Tensor) -> Tensor:
    """Return a tensor as float32, or as it is where it is float64.

    >>> wide(torch.ones(2, dtype=torch.float16)).dtype, wide(torch.ones(2).double()).dtype
    (torch.float32, torch.float64)
    """
    return tensor if tensor.dtype == torch.float64 else tensor.float()


@contextmanager
def full_precision() -> Iterator[None]:
    """Switch autocast off, which rounds matrix products of float32; also a decorator.

    >>> with torch.autocast("cpu", torch.bfloat16), full_precision():
    ...     (torch.ones(1, 1) @ torch.ones(1, 1)).dtype
    torch.float32
    """
    with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
        yield
