"""Files that hold a network, held against the network itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

TOLERANCE = 1e-4  # as of compress=[export_onnx]: float32 in another order of operations

Network = Callable[[Tensor], Tensor]


@dataclass
class Alike:
    """How far a copy of a network is from it, over some samples.

    Attributes:
        difference: of the logits the largest, as a share of the largest logit.
        num_same: samples on which both have the same largest logit.
        num_samples: of how many.
    """

    difference: float
    num_same: int
    num_samples: int

    @property
    def within_tolerance(self) -> bool:
        """Whether the copy answers as the network does; not so where a logit is not a number."""
        return self.difference <= TOLERANCE


def compared(
    net: nn.Module, copies: Mapping[str, Network], chunks: Iterable[Tensor]
) -> tuple[dict[str, Alike], Tensor]:
    """Ask a network and its copies about the same samples, some at a time, and keep no logits.

    Args:
        net: in eval mode, on the CPU; (B, ...) to (B, K).
        copies: name -> the same map.
        chunks: (B, ...) inputs each, at least one.

    Returns:
        How far each copy is, and the classes (N,) that the network says.
    """
    apart, same = dict.fromkeys(copies, torch.tensor(0.0)), dict.fromkeys(copies, 0)
    largest, said = torch.tensor(1e-12), []
    with torch.inference_mode():
        for inputs in chunks:
            logits = net(inputs)
            said.append(logits.argmax(dim=1))
            largest = torch.maximum(largest, logits.abs().max())
            for name, copy in copies.items():
                others = copy(inputs)
                # maximum: what is not a number stays one
                apart[name] = torch.maximum(apart[name], (others - logits).abs().max())
                same[name] += int((others.argmax(dim=1) == said[-1]).sum())
    classes = torch.cat(said)
    found = {
        name: Alike((apart[name] / largest).item(), same[name], len(classes)) for name in copies
    }
    return found, classes
