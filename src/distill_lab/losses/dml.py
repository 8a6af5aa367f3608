"""Deep mutual learning: students that teach each other."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import ClassVar

import torch
from torch import Tensor, nn

from distill_lab.contracts import DistillBatch
from distill_lab.losses.base import Loss
from distill_lab.losses.ce import ce
from distill_lab.losses.kd import kd


def dml(student_logits: Tensor, peer_logits: Sequence[Tensor], targets: Tensor) -> Tensor:
    """What a student learns from its peers, and all that the peers learn.

    Each network of the cohort has the mean over the others of KL(other || own), at temperature 1,
    the other being a constant to it; each peer has the cross-entropy with the labels besides. The
    student's own is left to the term `ce`.

    Source: Zhang, Xiang, Hospedales, Lu 2018, arXiv:1706.00384, section 3. The authors' code
    (YingZhangDUT/Deep-Mutual-Learning) adds the divergences up, where the paper takes their mean.

    Args:
        student_logits: (B, K), any float dtype; computed in float32.
        peer_logits: of one peer or more, (B, K) each, with gradient.
        targets: (B,) class indices, or (B, K) probabilities (mixed labels).

    Returns:
        Scalar in nats, mean over B, sum over the cohort.

    Raises:
        ValueError: there is no peer, or the shapes differ.
    """
    cohort = [student_logits, *peer_logits]
    if len(cohort) < 2 or any(logits.shape != student_logits.shape for logits in peer_logits):
        raise ValueError(
            f"dml: student logits are {tuple(student_logits.shape)}, those of its peers "
            f"{[tuple(logits.shape) for logits in peer_logits]}; it needs one peer or more, all "
            "(B, K) over the same K classes."
        )
    labels = torch.stack([ce(logits, targets) for logits in peer_logits])
    others = torch.stack([_from_others(cohort, own) for own in range(len(cohort))])
    return labels.sum() + others.sum()


def _from_others(cohort: list[Tensor], own: int) -> Tensor:
    """Return the mean divergence of one network from the others, which are constants."""
    others = [logits for number, logits in enumerate(cohort) if number != own]
    return torch.stack([kd(cohort[own], other, temperature=1.0) for other in others]).mean()


class DML(Loss):
    """`dml` as a term that trains peers beside the student; it reads no teacher.

    The peers are copies of the untrained student in which the elements of every weight matrix and
    kernel are shuffled, so that they begin elsewhere at the same scale. They share the student's
    inputs, optimizer and mode, and are not exported.

    What differs from the paper: all networks take their step at once, by what they said before it;
    there they take turns, and each learns from what the others say after theirs.

    The weight of the term, and its schedule, multiply all that the peers learn, too: under SGD it
    is a factor of their learning rate. Clipping is by the length of the gradient of student and
    peers together. The peers run in float32 whatever the precision of the training, are not
    compiled, and a limit on the student's weights (`max_norm`) is none on theirs. Each costs a
    forward and a backward pass of the student in every step.

    Args:
        weight: of the term, >= 0.
        num_peers: networks beside the student, >= 1.
    """

    uses_teacher: ClassVar[bool] = False
    zero_at_match: ClassVar[bool] = False
    full_gradient: ClassVar[bool] = False  # the student is a constant in what the peers learn
    reads_labels: ClassVar[bool] = True

    def __init__(self, weight: float, num_peers: int) -> None:
        super().__init__(weight)
        if num_peers < 1:
            raise ValueError(f"num_peers: must be >= 1, got {num_peers}.")
        self.num_peers = num_peers

    def see_student(
        self, student: nn.Module, taps: Sequence[str], classifier: nn.Linear | None
    ) -> None:
        """Make the peers."""
        self.peers = nn.ModuleList(shuffled_copy(student) for _ in range(self.num_peers))

    def forward(self, batch: DistillBatch) -> Tensor:
        """Return the unweighted value; the peers are run on the batch's inputs.

        Raises:
            ValueError: the batch has no inputs.
        """
        if batch.inputs is None:
            raise ValueError(
                "dml: the batch has no inputs to ask the peers about (DistillBatch.inputs is None)."
            )
        peers = [peer(batch.inputs) for peer in self.peers]
        return dml(batch.student.logits, peers, batch.targets)


@torch.no_grad()
def shuffled_copy(net: nn.Module) -> nn.Module:
    """Return a copy of a network with other weights, drawn from torch's global generator.

    The elements of every parameter of two axes or more change places at random. Vectors, such as
    biases and the scales of norms, stay: many of them begin equal in all networks.

    Args:
        net: on any device, `meta` included; it is left as it is.
    """
    copy = deepcopy(net)
    for parameter in copy.parameters():
        if parameter.ndim >= 2:
            order = torch.randperm(parameter.numel()).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return copy
