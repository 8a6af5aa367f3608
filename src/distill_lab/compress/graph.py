"""A network that something else than its Python code runs."""

from __future__ import annotations

from abc import ABC
from typing import ClassVar

from torch import nn


class Graph(nn.Module, ABC):
    """What an export left, called like the network that it was made of.

    Attributes:
        runtime: what runs it, for tables.
        suffix: of a file with `content`.
        content: the file that it is kept as.
    """

    runtime: ClassVar[str]
    suffix: ClassVar[str]
    content: bytes
