"""The loops to compare with: plain torch, written by hand, nothing between the lines.

All pixels are normalised and padded once, a batch is cropped by one indexing of a view, the
optimizer is torch's fused one, and the allocator is set as the package sets it: no slower way is
taken where there is a quicker one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.serve import serve, settle
from bench.task import NUM_THREADS, Task
from distill_lab.contracts import Component
from distill_lab.training.memory import keep_freed_memory


class Bare:
    """A student, trained on labels alone or with its teacher in every step.

    Args:
        task: what to train.
        with_teacher: whether the loss is 0.1 CE + 0.9 KD instead of the cross-entropy.
    """

    def __init__(self, task: Task, with_teacher: bool) -> None:
        self.task = task
        self.student = network(task.student, task).train()
        self.teacher = network(task.teacher, task).eval() if with_teacher else None
        self.optimizer = torch.optim.SGD(
            self.student.parameters(),
            task.lr,
            momentum=task.momentum,
            weight_decay=task.weight_decay,
            fused=True,
        )
        pixels = torch.rand(task.num_images, *task.input_shape)
        self.targets = torch.randint(task.num_classes, (task.num_images,))
        border = [task.shift_pixels] * 4
        padded = (F.pad(pixels, border) - task.mean) / task.std
        _, height, width = task.input_shape
        self.windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (N, C, 2s+1, 2s+1, H, W)

    def repeat(self) -> dict[str, Any]:
        """Train an epoch to warm up and one that is timed."""
        self.epoch()
        start = perf_counter()
        self.epoch()
        return {"images_per_second": self.task.num_images / (perf_counter() - start)}

    def epoch(self) -> Tensor:
        """Train on every image once; return the summed loss."""
        total = torch.zeros(())
        for index in torch.randperm(self.task.num_images).split(self.task.batch_size):
            inputs, targets = self.augmented(index), self.targets[index]
            loss = self.loss(inputs, targets)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            total += loss.detach()
        return total

    def augmented(self, index: Tensor) -> Tensor:
        """Crop each image at a random place; mirror half of them."""
        down, right = torch.randint(2 * self.task.shift_pixels + 1, (2, len(index)))
        inputs = self.windows[index, :, down, right]
        if self.task.horizontal_flip:
            mirrored = torch.rand(len(index)) < 0.5
            inputs[mirrored] = inputs[mirrored].flip(3)
        return inputs

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy, or Hinton's sum of it and the divergence from the teacher."""
        logits = self.student(inputs)
        labels = F.cross_entropy(logits, targets)
        if self.teacher is None:
            return labels
        task = self.task
        with torch.no_grad():
            soft = F.softmax(self.teacher(inputs) / task.temperature, dim=1)
        student = F.log_softmax(logits / task.temperature, dim=1)
        divergence = F.kl_div(student, soft, reduction="batchmean") * task.temperature**2
        return task.ce_weight * labels + task.kd_weight * divergence


def network(named: tuple[str, dict[str, Any]], task: Task) -> nn.Module:
    """Make a network of the package, with random weights, on which no speed depends."""
    shapes = {"input_shape": tuple(task.input_shape), "num_classes": task.num_classes}
    net: nn.Module = Component(*named).make(**shapes)
    return net


def main(loop: str, given: str) -> None:
    """Serve one of the two loops."""

    def make() -> Callable[[], dict[str, Any]]:
        settle(NUM_THREADS)
        keep_freed_memory()
        return Bare(Task(**json.loads(given)["task"]), loop == "bare_kd").repeat

    serve(make)


if __name__ == "__main__":
    main(*sys.argv[1:])
