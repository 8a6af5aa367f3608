"""Your own sounds: wav files in a folder per class, as pictures of pitch and time."""

from __future__ import annotations

import math
import re
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distill_lab.contracts import Arrays, DataInfo, Splits
from distill_lab.data.folders import SOUNDS, Found, class_names, three_splits
from distill_lab.data.log_mel import BATCH, LogMel
from distill_lab.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

DAMAGED = (OSError, ValueError, struct.error, UnboundLocalError)
"""What scipy raises where a file is no sound, or cut off; the last where it has no data."""
MARGIN = 100
"""Samples after the last that is heard, which the filter of another rate looks at."""


class WavFolder:
    """The layout of `ImageFolder`: `<folder>/<split>/<class>/*.wav`.

    A file is one sample: its first `seconds`, or all of it and silence. Channels are averaged, and
    other rates are resampled. The pictures of all files lie in memory.

    Args:
        folder: absolute or from the working directory.
        num_classes: >= 2, folders in every split; a key, because networks are checked before any
            file is looked at.
        rate: samples a second that sounds are brought to, >= 1000.
        seconds: that are heard, > 0.
        num_bands: height of the pictures, see `LogMel`.
        num_frames: width of the pictures, see `LogMel`.
        validation_fraction: in (0, 1), share of train that choices are made on where there is no
            validation split.
        split_seed: decides which files that is; apart from the run's seed, so that runs with
            different seeds share their splits.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        folder: str,
        num_classes: int,
        rate: int,
        seconds: float,
        num_bands: int,
        num_frames: int,
        validation_fraction: float,
        split_seed: int,
    ) -> None:
        if num_classes < 2:
            raise ValueError(f"num_classes: must be >= 2, got {num_classes}.")
        if rate < 1000:
            raise ValueError(f"rate: must be >= 1000, got {rate}.")
        if seconds <= 0:
            raise ValueError(f"seconds: must be > 0, got {seconds}.")
        if not 0 < validation_fraction < 1:
            raise ValueError(f"validation_fraction: must be in (0, 1), got {validation_fraction}.")
        self.folder = Path(folder)
        self.features = LogMel(rate, round(seconds * rate), num_bands, num_frames)
        self.validation_fraction = validation_fraction
        self.split_seed = split_seed
        self.info = DataInfo(
            name=re.sub(r"[^\w.-]+", "_", self.folder.resolve().name) or "wav_folder",
            input_shape=(1, num_bands, num_frames),
            num_classes=num_classes,
            class_names=class_names(self.folder / "train", num_classes),
            mean=(0.0,),  # each picture has zero mean and unit deviation already
            std=(1.0,),
        )

    def load(self) -> Splits:
        """Read all files; the same arrays every time.

        Raises:
            DataError: the folder is not laid out as it must be, has other classes, or a file is no
                sound.
        """
        found = three_splits(
            self.folder,
            SOUNDS,
            self.info.num_classes,
            self.validation_fraction,
            self.split_seed,
        )
        return Splits(**{name: self._arrays(split) for name, split in found.items()})

    def _arrays(self, split: Found) -> Arrays:
        return Arrays(pictures([file.path for file in split.files], self.features), split.targets())


def pictures(paths: Sequence[str], features: LogMel) -> Tensor:
    """Return (N, 1, bands, frames) of N wav files.

    Raises:
        DataError: a file is no sound.
    """
    import torch

    made = torch.empty(len(paths), 1, features.num_bands, features.num_frames)
    for first in range(0, len(paths), BATCH):  # all clips at once would take gigabytes
        some = paths[first : first + BATCH]
        clips = np.zeros((len(some), features.num_samples), np.float32)
        for clip, path in zip(clips, some, strict=True):
            sound = heard(path, features.rate, features.num_samples)
            clip[: len(sound)] = sound
        made[first : first + BATCH] = features.of(torch.from_numpy(clips))
    return made


def heard(path: str, rate: int, num_samples: int) -> np.ndarray:
    """Return the first samples of a wav file, one channel in [-1, 1] at a rate.

    Raises:
        DataError: it is no wav file that scipy can read, or holds no sound.
    """
    from scipy.io import wavfile
    from scipy.signal import resample_poly

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks that are no sound
            own, sound = wavfile.read(path)
    except DAMAGED as error:
        raise DataError(f"{path}: cannot be read ({error}).") from error
    if not len(sound):
        raise DataError(f"{path}: holds no sound.")
    sound = sound[: (num_samples + MARGIN) * own // rate + 1]
    if sound.dtype == np.uint8:
        sound = (sound.astype(np.float32) - 128) / 128
    elif np.issubdtype(sound.dtype, np.integer):
        sound = sound.astype(np.float32) / -float(np.iinfo(sound.dtype).min)
    if sound.ndim == 2:
        sound = sound.mean(1)
    if own != rate:
        common = math.gcd(own, rate)
        sound = resample_poly(sound, rate // common, own // common)
    return sound[:num_samples].astype(np.float32)
