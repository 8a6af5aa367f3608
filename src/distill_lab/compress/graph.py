"""A network that something else than its Python code runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Self

from torch import Tensor, nn


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

    @property
    @abstractmethod
    def weights(self) -> list[Tensor] | None:
        """What torch holds while it runs the graph; None: another runtime holds it."""

    @classmethod
    @abstractmethod
    def of(cls, net: nn.Module, examples: Tensor) -> Self:
        """Export a network in float.

        Args:
            net: maps (B, ...) to (B, K); it is left as it is.
            examples: (N, ...) inputs, N >= 2.

        Raises:
            ValueError: it cannot be exported; names the layer.
        """
