"""A LightningDataModule of your own as a dataset: its batches are collected once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

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
        ValueError: an argument is out of range.
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
        if not path or not name.isidentifier():
            raise ValueError(f"module: must be <module>.<class>, got {module!r}.")
        if not input_shape or min(input_shape) < 1:
            raise ValueError(f"input_shape: must be numbers >= 1, got {list(input_shape)}.")
        if vocabulary_size is not None and vocabulary_size < 2:
            raise ValueError(f"vocabulary_size: must be >= 2 or null, got {vocabulary_size}.")
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
        """Return what the loaders give; what they draw at random is the same every time.

        Raises:
            DataError: there is no such class in the working directory, it fails, or a loader gives
                something else.
        """
        import random

        import torch

        if module_file(self.path) is None:
            raise DataError(
                f"data.module: must be a class in a module of the working directory, got "
                f"{self.path}.{self.name}."
            )
        drawn, drawn_by_numpy = random.getstate(), np.random.get_state()
        try:
            with torch.random.fork_rng(devices=[]):
                for seed in (random.seed, np.random.seed, torch.manual_seed):
                    seed(0)
                return self._read()
        finally:
            random.setstate(drawn)
            np.random.set_state(drawn_by_numpy)

    def _read(self) -> Splits:
        arrays = {}
        try:
            made: pl.LightningDataModule = getattr(import_module(self.path), self.name)(
                **self.arguments
            )
            made.prepare_data()
            for stage in ("fit", "test"):
                made.setup(stage)
            for split, name in LOADERS.items():
                arrays[split] = self._collected(getattr(made, name)(), name)
        except DataError:
            raise
        except Exception as error:  # code of the user's own
            what = " ".join(str(error).split())
            raise DataError(
                f"data.module: {self.path}.{self.name}: {type(error).__name__}: {what}"
            ) from error
        return Splits(**arrays)

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
        size = self.info.vocabulary_size
        values = torch.cat(inputs).to(torch.float32 if size is None else torch.int64)
        labels = torch.cat(targets)
        if labels.is_floating_point() or labels.shape != values.shape[:1]:
            raise DataError(
                f"{self.name}.{loader}: must give a whole number as the target of each input, got "
                f"{labels.dtype} of shape {tuple(labels.shape)} for {len(values)}."
            )
        if not values.isfinite().all():
            raise DataError(f"{self.name}.{loader}: gives inputs that are not finite.")
        if size is not None and not 0 <= int(values.min()) <= int(values.max()) < size:
            raise DataError(
                f"data.vocabulary_size: must be > {int(values.max())}, the largest token id of "
                f"{self.name}.{loader}, and none may be below 0; got {size}."
            )
        found = tuple(values.shape[1:])
        if found != self.info.input_shape:
            raise DataError(
                f"data.input_shape: must be {list(found)}, which {self.name}.{loader} gives, got "
                f"{list(self.info.input_shape)}."
            )
        least, most = int(labels.min()), int(labels.max())
        if least < 0 or most >= self.info.num_classes:
            raise DataError(
                f"data.num_classes: must be > {most}, the largest target of {self.name}.{loader}, "
                f"and none may be below 0; got {self.info.num_classes}, and {least}."
            )
        return Arrays(values, labels.long())
