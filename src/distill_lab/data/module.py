"""The training and validation splits as Lightning wants them."""

from __future__ import annotations

import pytorch_lightning as pl
from torch import Tensor

from distill_lab.contracts import DataInfo, Splits
from distill_lab.data.augment import horizontal_flip, shift
from distill_lab.data.loader import Loader
from distill_lab.data.normalise import normalise

EVALUATION_BATCH_SIZE = 512


class DataModule(pl.LightningDataModule):
    """Training batches shuffled and augmented anew each epoch; validation as it is.

    The view of a training batch is the epoch. A last training batch of one sample is dropped while
    there are others, because batch norm cannot train on one sample.

    Args:
        info: of the dataset.
        splits: un-normalised; augmentation works on pixels in [0, 1], then all are normalised.
        batch_size: >= 1, of training; validation uses `EVALUATION_BATCH_SIZE`.
        seed: of the run; order and augmentation are functions of it, the sample and the epoch.
        shift_pixels: >= 0, largest random shift along either axis.
        horizontal_flip: whether half of the images are mirrored.

    Raises:
        ValueError: an argument is out of range, there are fewer than two samples to train on, or
            augmentation is asked for inputs that are not images.
    """

    def __init__(
        self,
        info: DataInfo,
        splits: Splits,
        batch_size: int,
        seed: int,
        shift_pixels: int = 0,
        horizontal_flip: bool = False,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size: must be >= 1, got {batch_size}.")
        if shift_pixels < 0:
            raise ValueError(f"shift_pixels: must be >= 0, got {shift_pixels}.")
        if len(splits.train.targets) < 2:
            raise ValueError(
                f"splits: train must have >= 2 samples, got {len(splits.train.targets)}."
            )
        if (shift_pixels or horizontal_flip) and len(info.input_shape) != 3:
            raise ValueError(
                "shift_pixels, horizontal_flip: must be 0 and false unless inputs are (C, H, W), "
                f"got inputs of shape {info.input_shape}."
            )
        self.info = info
        self.splits = splits
        self.batch_size = batch_size
        self.seed = seed
        self.shift_pixels = shift_pixels
        self.horizontal_flip = horizontal_flip

    def train_dataloader(self) -> Loader:
        """Shuffled and augmented; both follow the epoch in which a pass starts."""
        return Loader(
            self.splits.train,
            self.batch_size,
            self._augmented,
            view=self._epoch,
            shuffle_seed=self.seed,
            drop_lone=True,
        )

    def val_dataloader(self) -> Loader:
        """The validation split in order, view 0."""
        return Loader(
            self.splits.validation,
            EVALUATION_BATCH_SIZE,
            lambda inputs, index, view: normalise(inputs, self.info),
        )

    def _epoch(self) -> int:
        return self.trainer.current_epoch if self.trainer else 0

    def _augmented(self, inputs: Tensor, index: Tensor, view: Tensor) -> Tensor:
        if self.shift_pixels:
            inputs = shift(inputs, self.shift_pixels, self.seed, index, view)
        if self.horizontal_flip:
            inputs = horizontal_flip(inputs, self.seed, index, view)
        return normalise(inputs, self.info)
