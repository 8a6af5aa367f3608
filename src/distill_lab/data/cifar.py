"""CIFAR-10 and CIFAR-100: colour photographs, 32x32; 50,000 to train and validate on."""

from __future__ import annotations

from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from filelock import FileLock

from distill_lab.contracts import Arrays, DataInfo, Splits
from distill_lab.data.network import SOCKET_SECONDS, socket_timeout
from distill_lab.errors import DataError

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

NUM_TRAIN = 50_000
CLASSES = {
    10: "airplane automobile bird cat deer dog frog horse ship truck",
    100: """
        apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
        butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch
        crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house
        kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
        mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree
        plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark
        shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table
        tank telephone television tiger tractor train trout tulip turtle wardrobe whale
        willow_tree wolf woman worm
    """,
}
MEAN = {10: (0.4914, 0.4822, 0.4465), 100: (0.5071, 0.4867, 0.4408)}
STD = {10: (0.2470, 0.2435, 0.2616), 100: (0.2675, 0.2565, 0.2761)}
"""Over the pixels of the 50,000, as in the code of the field's tables (RepDistiller)."""


class CIFAR:
    """The standard 10,000 test images stay the test split; validation is taken from the 50,000.

    Source: Krizhevsky 2009, "Learning multiple layers of features from tiny images".

    Args:
        num_classes: 10 or 100, which of the two datasets.
        folder: with the folder that torchvision keeps the files in, absolute or from the working
            directory; they are downloaded where they are missing.
        num_validation: in [1, 49998], how many of the 50,000 choices are made on.
        split_seed: decides which ones; apart from the run's seed, so that runs with different
            seeds share their splits.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self, num_classes: Literal[10, 100], folder: str, num_validation: int, split_seed: int
    ) -> None:
        if num_classes not in CLASSES:
            raise ValueError(f"num_classes: must be 10 or 100, got {num_classes}.")
        if not 1 <= num_validation <= NUM_TRAIN - 2:
            raise ValueError(
                f"num_validation: must be in [1, {NUM_TRAIN - 2}], got {num_validation}."
            )
        self.folder = folder
        self.num_validation = num_validation
        self.split_seed = split_seed
        self.info = DataInfo(
            name=f"cifar{num_classes}",
            input_shape=(3, 32, 32),
            num_classes=num_classes,
            class_names=tuple(CLASSES[num_classes].split()),
            mean=MEAN[num_classes],
            std=STD[num_classes],
        )

    def load(self) -> Splits:
        """Return the verified, un-normalised splits; the same arrays every time.

        Raises:
            DataError: the files are neither there nor to be had, or are not the original ones.
        """
        from distill_lab.data.split import stratified

        folder = Path(self.folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / f"{self.info.name}.lock"):
                known, test = self._dataset(train=True), self._dataset(train=False)
        except (OSError, RuntimeError, HTTPException) as error:
            reason = " ".join(str(error).split())
            raise DataError(
                f"{self.info.name}: cannot be had ({reason}). Run once with a network, or copy the "
                f"folder that torchvision made of it into {folder}."
            ) from error
        if tuple(known.classes) != self.info.class_names:
            raise DataError(f"{self.info.name}: its classes are others than those known here.")
        inputs, targets, _ = _tensors(known)
        validation, train = stratified(targets, (self.num_validation,), self.split_seed)
        return Splits(
            train=Arrays(inputs[train], targets[train]),
            validation=Arrays(inputs[validation], targets[validation]),
            test=_tensors(test),
        )

    def _dataset(self, train: bool) -> CIFAR10:
        """Return torchvision's dataset, which holds each file against its MD5."""
        from torchvision import datasets

        kind: Any = datasets.CIFAR10 if self.info.num_classes == 10 else datasets.CIFAR100
        with socket_timeout(SOCKET_SECONDS):
            dataset: CIFAR10 = kind(self.folder, train=train, download=True)
        return dataset


def _tensors(dataset: CIFAR10) -> Arrays:
    import torch

    pixels = torch.from_numpy(np.ascontiguousarray(dataset.data.transpose(0, 3, 1, 2)))
    return Arrays(pixels.float().div_(255), torch.tensor(dataset.targets))
