"""A LightningDataModule of your own as a dataset: its batches are collected once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from distill_lab.contracts import Arrays, DataInfo, Splits
from distill_lab.errors import DataError
from distill_lab.own_code import module_file

if TYPE_CHECKING:
    import pytorch_lightning as pl

LOADERS = {"train": "train_dataloader", "validation": "val_dataloader", "test": "test_dataloader"}


class FromDataModule:
    """The three loaders of a module are read once, into memory; batches and views are then ours.

    So what its training loader does at random, it does once: leave augmentation to the regime, and
    normalisation to `mean` and `std`. A loader gives (inputs, targets).

    Args:
        module: dotted path of the class, in a module of the working directory.
        arguments: its keyword arguments.
        input_shape: of one input, no batch axis.
        num_classes: K, >= 2.
        mean: per channel, that inputs are normalised with; empty for token ids.
        std: per channel, > 0; empty for token ids.
        vocabulary_size: inputs are token ids below it, 0 being padding; None: they are numbers.

    Raises:
        ValueError: an argument is out of range, or there is no such module.
    """

    def __init__(
        self,
        module: str,
        arguments: dict[str, Any],
        input_shape: list[int],
        num_classes: int,
        mean: list[float],
        std: list[float],
        vocabulary_size: int | None,
    ) -> None:
        path, _, name = module.rpartition(".")
        if module_file(path) is None:
            raise ValueError(
                f"module: must be a class in a module of the working directory, got {module!r}."
            )
        if num_classes < 2:
            raise ValueError(f"num_classes: must be >= 2, got {num_classes}.")
        if len(std) != len(mean) or any(value <= 0 for value in std):
            raise ValueError(f"std: must be {len(mean)} numbers > 0, got {list(std)}.")
        channels = 0 if vocabulary_size is not None else input_shape[0]
        if len(mean) != channels:
            raise ValueError(
                f"mean: must be {channels} numbers, one per channel, got {list(mean)}."
            )
        self.path, self.name, self.arguments = path, name, arguments
        self.info = DataInfo(
            name=re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(),
            input_shape=tuple(input_shape),
            num_classes=num_classes,
            class_names=tuple(f"class {number}" for number in range(num_classes)),
            mean=tuple(mean),
            std=tuple(std),
            vocabulary_size=vocabulary_size,
        )

    def load(self) -> Splits:
        """Return what the loaders give.

        Raises:
            DataError: there is no such class, or a loader gives something else.
        """
        try:
            made: pl.LightningDataModule = getattr(import_module(self.path), self.name)(
                **self.arguments
            )
        except (AttributeError, TypeError) as error:
            raise DataError(f"data.module: {self.path}.{self.name}: {error}.") from error
        made.prepare_data()
        for stage in ("fit", "test"):
            made.setup(stage)
        return Splits(
            **{
                split: self._collected(getattr(made, name)(), name)
                for split, name in LOADERS.items()
            }
        )

    def _collected(self, batches: Iterable[Any], loader: str) -> Arrays:
        import torch

        inputs, targets = [], []
        for batch in batches:
            if not isinstance(batch, list | tuple) or len(batch) != 2:
                raise DataError(f"{self.name}.{loader}: must give (inputs, targets).")
            inputs.append(torch.as_tensor(batch[0]))
            targets.append(torch.as_tensor(batch[1]))
        if not inputs:
            raise DataError(f"{self.name}.{loader}: gives nothing.")
        kind = torch.float32 if self.info.vocabulary_size is None else torch.int64
        arrays = Arrays(torch.cat(inputs).to(kind), torch.cat(targets).long())
        found = tuple(arrays.inputs.shape[1:])
        if found != self.info.input_shape:
            raise DataError(
                f"data.input_shape: must be {list(found)}, which {self.name}.{loader} gives, got "
                f"{list(self.info.input_shape)}."
            )
        least, most = int(arrays.targets.min()), int(arrays.targets.max())
        if least < 0 or most >= self.info.num_classes:
            raise DataError(
                f"data.num_classes: must be > {most}, the largest target of {self.name}.{loader}, "
                f"and none may be below 0; got {self.info.num_classes}, and {least}."
            )
        return arrays
