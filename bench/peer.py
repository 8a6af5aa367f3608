"""torchdistill's loop on the same networks; runs in an environment of its own.

Its box, loss, data loader and meters are put together as its own image classification example does
it: torchvision's transforms on one PIL image after another.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

import torch
from PIL import Image
from torch.utils.data import Dataset, RandomSampler
from torchdistill.core.distillation import get_distillation_box
from torchdistill.misc.log import MetricLogger, SmoothedValue
from torchvision import transforms

from bench.bare import network
from bench.serve import serve, settle
from bench.task import NUM_THREADS, Task

NUM_WORKERS = (0, 2)
PRINT_EVERY = 100  # steps, as in its sample configs


class Images(Dataset):
    """Bytes in memory, one PIL image made per sample, as in torchvision's MNIST and CIFAR."""

    def __init__(self, task: Task) -> None:
        channels, height, width = task.input_shape
        shape = (height, width) if channels == 1 else (height, width, channels)
        generator = torch.Generator().manual_seed(0)
        size = (task.num_images, *shape)
        self.pixels = torch.randint(256, size, dtype=torch.uint8, generator=generator).numpy()
        self.targets = torch.randint(task.num_classes, (task.num_images,)).tolist()
        steps: list[Any] = [transforms.RandomCrop((height, width), padding=task.shift_pixels)]
        if task.horizontal_flip:
            steps.append(transforms.RandomHorizontalFlip())
        steps.append(transforms.ToTensor())
        steps.append(transforms.Normalize((task.mean,) * channels, (task.std,) * channels))
        self.transform = transforms.Compose(steps)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.targets)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        """Return a transformed image and its class."""
        return self.transform(Image.fromarray(self.pixels[number])), self.targets[number]


class Peer:
    """A box for each number of loader workers; the quicker one is used.

    Args:
        task: what to train.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.images = Images(task)
        boxes = {number: self.box(number) for number in NUM_WORKERS}
        self.speeds = {number: self.speed(box) for number, box in boxes.items()}
        self.num_workers = max(self.speeds, key=lambda number: self.speeds[number])
        self.chosen = boxes[self.num_workers]

    def repeat(self) -> dict[str, Any]:
        """Train an epoch to warm up and one that is timed."""
        return {
            "images_per_second": self.speed(self.chosen),
            "num_workers": self.num_workers,
            "tried": {str(number): speed for number, speed in self.speeds.items()},
        }

    def speed(self, box: Any) -> float:
        """Return images per second of a second epoch."""
        self.epoch(box)
        start = perf_counter()
        self.epoch(box)
        return self.task.num_images / (perf_counter() - start)

    def epoch(self, box: Any) -> None:
        """Train on every image once, with the meters that its example prints."""
        box.pre_epoch_process(epoch=0)
        box.teacher_model.eval()
        meters = MetricLogger(delimiter="  ")
        meters.add_meter("lr", SmoothedValue(window_size=1, fmt="{value}"))
        loader = box.train_data_loader
        for inputs, targets, extras in meters.log_every(loader, PRINT_EVERY, "Epoch"):
            loss = box.forward_process(inputs, targets, extras)
            box.post_forward_process(loss=loss)
            meters.update(loss=loss.item(), lr=box.optimizer.param_groups[0]["lr"])
        box.post_epoch_process()

    def box(self, num_workers: int) -> Any:
        """Put a box together from a config like its sample configs for CIFAR-100."""
        task = self.task
        loader: dict[str, Any] = {
            "dataset_id": "train",
            "sampler": {"class_or_func": RandomSampler, "kwargs": {}},
            "kwargs": {
                "batch_size": task.batch_size,
                "num_workers": num_workers,
                "persistent_workers": num_workers > 0,
            },
        }
        sgd = {"lr": task.lr, "momentum": task.momentum, "weight_decay": task.weight_decay}
        logits = {"student_module_path": ".", "student_module_io": "output"}
        logits |= {"teacher_module_path": ".", "teacher_module_io": "output"}
        kd = {
            "key": "KDLoss",
            "kwargs": {
                **logits,
                "temperature": task.temperature,
                "alpha": task.ce_weight,
                "beta": task.kd_weight,
                "reduction": "batchmean",
            },
        }
        config = {
            "num_epochs": 1,
            "train_data_loader": loader,
            "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
            "student": {"forward_proc": "forward_batch_only", "requires_grad": True},
            "optimizer": {"key": "SGD", "kwargs": sgd},
            "criterion": {
                "key": "WeightedSumLoss",
                "kwargs": {"sub_terms": {"kd": {"criterion": kd, "weight": 1.0}}},
            },
        }
        return get_distillation_box(
            network(task.teacher, task).eval(),
            network(task.student, task),
            {"train": self.images},
            config,
            torch.device("cpu"),
            None,
            False,
            1,
        )


def main(loop: str, given: str) -> None:
    """Serve the loop."""

    def make() -> Callable[[], dict[str, Any]]:
        settle(NUM_THREADS)
        return Peer(Task(**json.loads(given)["task"])).repeat

    serve(make)


if __name__ == "__main__":
    main(*sys.argv[1:])
