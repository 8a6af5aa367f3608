"""The contract of a step of compression."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from torch import Tensor, nn

Kind = Literal["float", "grid", "int8", "graph"]
"""What a network is: plain float weights; float weights that int8 can hold; int8 weights; a graph
that is run by something else than its Python code."""


class Step(ABC):
    """One step of a chain, from a trained network to a smaller or faster one.

    A subclass stores and checks numbers in `__init__`; `check` says what it cannot treat. A step
    with `epochs` is a training: the network of each `begin` is trained for so long, and `finish`
    takes out what was put in for the training, so that a plain network is left.

    Attributes:
        takes: kinds of networks that it can be given.
        gives: kind of what it makes.
        makes_int8: whether weights are int8 from then on.
        rounds: how often it begins, each time on what the round before left.
        epochs: of the training after each begin; 0 for none.
        tolerance: > 0 where what it makes has to answer as the network before it: the largest
            difference of a logit, as a share of the largest logit.
        num_examples: of the training split, at most, that it looks at.
    """

    takes: ClassVar[tuple[Kind, ...]] = ("float",)
    gives: ClassVar[Kind] = "float"
    makes_int8: ClassVar[bool] = False
    rounds: int = 1
    epochs: int = 0
    tolerance: float = 0.0
    num_examples: int = 4

    @abstractmethod
    def check(self, net: nn.Module, example: Tensor) -> None:
        """Make sure that the step can treat a network, which may be on the meta device.

        Args:
            net: of a kind in `takes`.
            example: (B, ...) normalised inputs or token ids, on the network's device.

        Raises:
            ValueError: it cannot; names the layer.
        """

    @abstractmethod
    def begin(self, net: nn.Module, examples: Tensor, number: int) -> nn.Module:
        """Return a compressed copy of a network.

        Args:
            net: of a kind in `takes`, on the CPU; it is left as it is.
            examples: (N, ...) normalised training inputs, or token ids.
            number: of the round, from 0.

        Raises:
            ValueError: the network cannot be treated; names the layer.
        """

    def finish(self, net: nn.Module) -> nn.Module:
        """Return the network without what was put in for its training; by default, itself."""
        return net
