"""The processes of one training: each has its rows of every batch, and all see the whole batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

from distill_lab.contracts import Output
from distill_lab.data.counter import bits


@dataclass(frozen=True)
class Group:
    """What a training asks of the others; with one process nothing is asked and nothing changes.

    The rows of a process are those that `torch.tensor_split` gives it. A loss is computed by every
    process on the rows of all of them, so that terms that compare samples, or remember them, are
    what they are with one process, and so are all decisions.

    Attributes:
        rank: number of this process, from 0; 0 is the one that was started by the user.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    def rows(self, count: int, rank: int | None = None) -> slice:
        """Return which of `count` rows are those of a process, by default of this one.

        >>> [Group(size=3).rows(7, rank) for rank in range(3)]
        [slice(0, 3, None), slice(3, 5, None), slice(5, 7, None)]
        """
        rank = self.rank if rank is None else rank
        least, more = divmod(count, self.size)
        start = rank * least + min(rank, more)
        return slice(start, start + least + (rank < more))

    def gather(self, own: Tensor, count: int) -> Tensor:
        """Return the rows of all processes; a loss of them has the right mean gradient.

        Args:
            own: (own rows, ...).
            count: rows of all.
        """
        if self.size == 1:
            return own
        if own.requires_grad:
            gathered: Tensor = _Gather.apply(own, self, count)
            return gathered
        return self._gathered(own, count)

    def gather_output(self, own: Output, count: int) -> Output:
        """Return what a network says about the rows of all processes."""
        if self.size == 1:
            return own
        features = {tap: self.gather(value, count) for tap, value in own.features.items()}
        return replace(own, logits=self.gather(own.logits, count), features=features)

    def average(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Return the means over the processes; None where there is no gradient, in all of them."""
        there = [gradient for gradient in gradients if gradient is not None]
        if self.size == 1 or not there:
            return list(gradients)
        flat = torch.cat([gradient.flatten() for gradient in there])
        dist.all_reduce(flat)
        flat /= self.size
        parts = iter(flat.split([gradient.numel() for gradient in there]))
        return [None if g is None else next(parts).view_as(g) for g in gradients]

    def average_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Put the mean over the processes in the place of each gradient that is not sharded."""
        if self.size == 1:
            return
        whole = [parameter for parameter in parameters if not isinstance(parameter, DTensor)]
        means = self.average([parameter.grad for parameter in whole])
        for parameter, mean in zip(whole, means, strict=True):
            if parameter.grad is not None and mean is not None:
                parameter.grad.copy_(mean)

    def total(self, numbers: Sequence[int]) -> list[int]:
        """Return the sums over the processes."""
        sums = torch.tensor(numbers)
        if self.size > 1:
            dist.all_reduce(sums)
        return [int(number) for number in sums]

    def agree_on(self, row: dict[str, float]) -> dict[str, float]:
        """Return the numbers of process 0, so that no two processes decide differently."""
        if self.size == 1:
            return row
        values = torch.tensor(list(row.values()), dtype=torch.float64)
        dist.broadcast(values, 0)
        return dict(zip(row, values.tolist(), strict=True))

    def wait(self) -> None:
        """Wait for the others."""
        if self.size > 1:
            dist.all_reduce(torch.zeros(1))

    def seed(self, seed: int, epoch: int, batch: int, apart: bool) -> None:
        """Let torch's random numbers follow from the place in a training of several processes.

        Dropout then needs no state of all processes in a checkpoint.

        Args:
            seed: of the training.
            epoch: number of the epoch.
            batch: number of the batch in it.
            apart: whether each process draws numbers of its own; if not, all draw the same ones.
        """
        if self.size > 1:
            stream = self.rank + 1 if apart else 0
            torch.manual_seed(int(bits(seed, torch.tensor(batch), epoch, stream)) % 2**63)

    def _gathered(self, own: Tensor, count: int) -> Tensor:
        """Exchange the rows, of which a process can have one less than the first."""
        most = self.rows(count, 0).stop
        padded = own.new_zeros(most, *own.shape[1:])
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        sizes = [len(range(count)[self.rows(count, rank)]) for rank in range(self.size)]
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


class _Gather(torch.autograd.Function):
    """Gathers rows. All processes compute the same loss of them, so no gradient is exchanged here.

    A process's own rows get their part of the gradient times the number of processes, as gradients
    of weights are averaged over processes afterwards.
    """

    @staticmethod
    def forward(ctx: Any, own: Tensor, group: Group, count: int) -> Tensor:
        ctx.group, ctx.count = group, count
        return group._gathered(own, count)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        group: Group = ctx.group
        return gradients[0][group.rows(ctx.count)] * group.size, None, None


ALONE = Group()


def unsharded(value: Tensor) -> Tensor:
    """Return a tensor as a whole; all processes must ask for it."""
    return value.full_tensor() if isinstance(value, DTensor) else value
