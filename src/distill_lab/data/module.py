"""The training and validation splits as Lightning wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytorch_lightning as pl
import torch
from torch import Tensor

from distill_lab.contracts import Batch, DataInfo, Splits
from distill_lab.data.augment import Augmentation
from distill_lab.data.loader import CPU, Loader
from distill_lab.data.placement import moved
from distill_lab.data.word_augment import WordAugmentation

EVALUATION_BATCH_SIZE = 128  # rows that a CPU's caches have room for; does not change the result


class DataModule(pl.LightningDataModule):
    """Training batches shuffled and augmented anew each epoch; validation as it is.

    The view of a training batch is the epoch. On a GPU a split that fits lies there and is
    augmented there.

    Args:
        info: of the dataset.
        splits: un-normalised; images are augmented in [0, 1], then normalised.
        batch_size: >= 1, of training; validation uses `EVALUATION_BATCH_SIZE`.
        augmentation: of training; by its seed samples are shuffled too.
        samples: (M,) int64, numbers of the samples that are trained on; None for all.
        had: epoch in which a stopped training was, and how many of its batches it had.
        share: number of this process, and of how many that share the batches.

    Raises:
        ValueError: an argument is out of range, there are fewer than two samples to train on, fewer
            samples than processes, or augmentation is asked for inputs that are not images.
    """

    def __init__(
        self,
        info: DataInfo,
        splits: Splits,
        batch_size: int,
        augmentation: Augmentation | WordAugmentation,
        samples: Tensor | None = None,
        had: tuple[int, int] = (0, 0),
        share: tuple[int, int] = (0, 1),
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size: must be >= 1, got {batch_size}.")
        if len(splits.train.targets) < 2:
            raise ValueError(
                f"splits: train must have >= 2 samples, got {len(splits.train.targets)}."
            )
        num_samples = len(splits.train.targets) if samples is None else len(samples)
        for name, number in (
            ("train", num_samples),
            ("validation", len(splits.validation.targets)),
        ):
            if number < share[1] > 1:
                raise ValueError(
                    f"splits: {name} must have a sample for each of {share[1]} processes, "
                    f"got {number}."
                )
        of_images = isinstance(augmentation, Augmentation) and augmentation.is_on
        if of_images and len(info.input_shape) != 3:
            raise ValueError(
                "shift_pixels, horizontal_flip, cutout_pixels: must be 0, false and 0 unless "
                f"inputs are (C, H, W), got inputs of shape {info.input_shape}."
            )
        self.info = info
        self.splits = splits
        self.batch_size = batch_size
        self.augmentation = augmentation
        self.samples = samples
        self.had = had
        self.share = share

    def train_dataloader(self) -> Loader:
        """Shuffled and augmented; both follow the epoch in which a pass starts."""
        return self._train_loader(self._epoch, self._device())

    def train_pass(self, view: int, device: torch.device) -> Iterator[Batch]:
        """Yield the batches of one epoch on the device, without a trainer."""
        return iter(self._train_loader(lambda: view, device))

    def val_dataloader(self) -> Loader:
        """The validation split in order, view 0; of several processes each has a part."""
        rank, size = self.share
        return Loader(
            self.splits.validation,
            self.info,
            EVALUATION_BATCH_SIZE,
            device=self._device(),
            samples=torch.arange(len(self.splits.validation.targets)).tensor_split(size)[rank],
        )

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Move inputs and targets; index and view are read on the CPU at every step."""
        return batch._replace(
            inputs=moved(batch.inputs, device), targets=moved(batch.targets, device)
        )

    def _train_loader(self, view: Callable[[], int], device: torch.device) -> Loader:
        return Loader(
            self.splits.train,
            self.info,
            self.batch_size,
            self.augmentation,
            view,
            device,
            self.samples,
            lambda epoch: self.had[1] if epoch == self.had[0] else 0,
            self.share,
        )

    def _epoch(self) -> int:
        return self.trainer.current_epoch if self.trainer else 0

    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer else CPU
