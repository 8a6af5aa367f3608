"""Images in a folder per class, decoded when they are needed: for sets that memory cannot hold."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from distill_lab.contracts import Arrays, DataInfo, Splits
from distill_lab.data.folders import IMAGES, Found, class_names, three_splits


class ImageFolder:
    """The layout of ImageNet: `<folder>/<split>/<class>/*.jpg`, splits train, validation and test.

    `val` is read as validation. Where neither is there, a part of train is split off.

    Args:
        folder: absolute or from the working directory.
        num_classes: >= 2, folders in every split; a key, because networks are checked before any
            file is looked at.
        resize_pixels: >= crop_pixels, length of the short side before the middle is cut out.
        crop_pixels: >= 1, side of the square that networks see.
        random_resized_crop: whether training sees another part of each image in every view, scaled
            to the square, see `decode.random_box`; else the middle, as in evaluation.
        validation_fraction: in (0, 1), share of train that choices are made on where there is no
            validation split.
        split_seed: decides which images that is; apart from the run's seed, so that runs with
            different seeds share their splits.
        mean: per channel, of pixels in [0, 1]; three for colour, one for grey.
        std: per channel, > 0.
        num_workers: >= 0 processes that decode, per split; 0 for none. It changes no result.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        folder: str,
        num_classes: int,
        resize_pixels: int,
        crop_pixels: int,
        random_resized_crop: bool,
        validation_fraction: float,
        split_seed: int,
        mean: list[float],
        std: list[float],
        num_workers: int,
    ) -> None:
        if num_classes < 2:
            raise ValueError(f"num_classes: must be >= 2, got {num_classes}.")
        if crop_pixels < 1:
            raise ValueError(f"crop_pixels: must be >= 1, got {crop_pixels}.")
        if resize_pixels < crop_pixels:
            raise ValueError(
                f"resize_pixels: must be >= crop_pixels, {crop_pixels}, got {resize_pixels}."
            )
        if not 0 < validation_fraction < 1:
            raise ValueError(f"validation_fraction: must be in (0, 1), got {validation_fraction}.")
        if len(mean) not in (1, 3):
            raise ValueError(f"mean: must be one number, or three for colour, got {list(mean)}.")
        if len(std) != len(mean) or min(std) <= 0:
            raise ValueError(f"std: must be {len(mean)} numbers > 0, got {list(std)}.")
        if num_workers < 0:
            raise ValueError(f"num_workers: must be >= 0, got {num_workers}.")
        self.folder = Path(folder)
        self.resize_pixels = resize_pixels
        self.random_resized_crop = random_resized_crop
        self.validation_fraction = validation_fraction
        self.split_seed = split_seed
        self.num_workers = num_workers
        self.info = DataInfo(
            name=re.sub(r"[^\w.-]+", "_", self.folder.resolve().name) or "image_folder",
            input_shape=(len(mean), crop_pixels, crop_pixels),
            num_classes=num_classes,
            class_names=class_names(self.folder / "train", num_classes),
            mean=tuple(mean),
            std=tuple(std),
        )

    def load(self) -> Splits:
        """List the files; none is read before its pixels are asked for.

        Raises:
            DataError: the folder is not laid out as it must be, or has other classes.
        """
        found = three_splits(
            self.folder,
            IMAGES,
            self.info.num_classes,
            self.validation_fraction,
            self.split_seed,
        )
        varies = {"train": self.random_resized_crop, "validation": False, "test": False}
        return Splits(**{name: self._arrays(found[name], varies[name]) for name in varies})

    def _arrays(self, split: Found, varies: bool) -> Arrays:
        from distill_lab.data.decode import Decoder
        from distill_lab.data.images import Images

        channels, crop_pixels, _ = self.info.input_shape
        decoder = Decoder(channels, self.resize_pixels, crop_pixels)
        paths = [file.path for file in split.files]
        signature = self._signature(split, varies)
        inputs = Images(paths, decoder, signature, varies, self.num_workers)
        return Arrays(inputs, split.targets())

    def _signature(self, split: Found, varies: bool) -> str:
        """SHA-256 over path, size and time of change of each file, class names and settings.

        Bytes are not read: for ImageNet that would take as long as an epoch.
        """
        info = self.info
        settings = (split.classes, info.input_shape, self.resize_pixels, varies)
        sha256 = hashlib.sha256(repr((*settings, info.mean, info.std)).encode())
        for file in split.files:
            name = file.path.removeprefix(str(self.folder))
            sha256.update(repr((name, file.num_bytes, file.changed_ns)).encode())
        return sha256.hexdigest()
