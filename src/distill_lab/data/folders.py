"""What lies in a folder of samples: splits, their classes, their files; no file is opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from distill_lab.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

IMAGES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
SOUNDS = (".wav",)
LAYOUT = "It must hold train/<class>/, test/<class>/ and, if there is one, validation/<class>/."
NO_TEST = (
    "The last stage reads it, once. Where only train and val are there, as in ImageNet, rename val "
    "to test: a part of train is then split off for validation."
)


class File(NamedTuple):
    """A sample that was not opened.

    Attributes:
        path: of the file.
        target: number of its class.
        num_bytes: its size.
        changed_ns: when it was changed, in nanoseconds.
    """

    path: str
    target: int
    num_bytes: int
    changed_ns: int


class Found(NamedTuple):
    """A split: its classes in order of name, and its files in order of class and path."""

    classes: list[str]
    files: list[File]

    def targets(self) -> Tensor:
        """Return the class of each file: (N,) int64."""
        import torch

        return torch.tensor([file.target for file in self.files])


def splits_in(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Found]:
    """List train, test and, if it is there, validation (or val).

    Args:
        folder: with a folder for each split.
        suffixes: of the files that count.

    Raises:
        DataError: a folder is missing or empty, or the splits have different classes.
    """
    folders = _folders(folder)
    found = {name: _found(path, suffixes) for name, path in folders.items()}
    for name, split in found.items():
        _check_same_classes(found["train"].classes, split.classes, folders[name])
    return found


def three_splits(
    folder: Path, suffixes: tuple[str, ...], num_classes: int, fraction: float, seed: int
) -> dict[str, Found]:
    """List train, validation and test; where there is no validation, a part of train is split off.

    Args:
        folder: with a folder for each split.
        suffixes: of the files that count.
        num_classes: that there must be.
        fraction: see `split_off`.
        seed: see `split_off`.

    Raises:
        DataError: see `splits_in` and `split_off`; or there are other classes.
    """
    found = splits_in(folder, suffixes)
    train = found["train"]
    if len(train.classes) != num_classes:
        raise DataError(
            f"data.num_classes: must be {len(train.classes)}, the number of folders in "
            f"{folder.resolve() / 'train'}, got {num_classes}."
        )
    if "validation" not in found:
        found["validation"], found["train"] = split_off(train, fraction, seed)
    return {name: found[name] for name in ("train", "validation", "test")}


def split_off(train: Found, fraction: float, seed: int) -> tuple[Found, Found]:
    """Deal the files of train into a part to validate on and the rest, each class in proportion.

    Args:
        train: all of them.
        fraction: in (0, 1), of the files that are split off.
        seed: decides which ones.

    Raises:
        DataError: too few are left.
    """
    from distill_lab.data.split import stratified

    size = round(fraction * len(train.files))
    if not 1 <= size <= len(train.files) - 2:
        raise DataError(
            "data.validation_fraction: must leave >= 1 file to validate on and >= 2 to train on, "
            f"got {fraction} of {len(train.files)} files."
        )
    parts = stratified(train.targets(), (size,), seed)
    validation, rest = (
        train._replace(files=[train.files[number] for number in part.tolist()]) for part in parts
    )
    return validation, rest


def class_names(folder: Path, num_classes: int) -> tuple[str, ...]:
    """Return the names of the classes; made-up ones where there is no such folder, or another."""
    found = classes_in(folder) if folder.is_dir() else []
    if len(found) == num_classes:
        return tuple(found)
    return tuple(f"class {number}" for number in range(num_classes))


def classes_in(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, but for hidden ones, in order."""
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def _folders(folder: Path) -> dict[str, Path]:
    """Return where each split lies; validation is left out where there is none."""
    if not folder.is_dir():
        raise DataError(f"data.folder: there is no folder {str(folder.resolve())!r}. {LAYOUT}")
    for name, advice in (("train", LAYOUT), ("test", NO_TEST)):
        if not (folder / name).is_dir():
            raise DataError(f"{folder.resolve()}: has no folder {name!r}. {advice}")
    named = {"train": folder / "train", "test": folder / "test"}
    if (folder / "val").is_dir() and (folder / "validation").is_dir():
        raise DataError(f"{folder.resolve()}: has both validation and val. Take one away.")
    for name in ("validation", "val"):
        if (folder / name).is_dir():
            named["validation"] = folder / name
    return named


def _found(folder: Path, suffixes: tuple[str, ...]) -> Found:
    classes = classes_in(folder)
    if not classes:
        raise DataError(f"{folder.resolve()}: has no folders. Put the files of each class in one.")
    files: list[File] = []
    for target, name in enumerate(classes):
        of_class = sorted(_files(folder / name, target, suffixes))
        if not of_class:
            raise DataError(
                f"{(folder / name).resolve()}: has no file ({', '.join(suffixes)}). Put some "
                "there, or take the folder away."
            )
        files += of_class
    return Found(classes, files)


def _files(folder: Path, target: int, suffixes: tuple[str, ...]) -> Iterator[File]:
    """Yield the files of a class, those in folders below it too."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _files(Path(entry.path), target, suffixes)
            elif entry.name.lower().endswith(suffixes):
                status = entry.stat()
                yield File(entry.path, target, status.st_size, status.st_mtime_ns)


def _check_same_classes(train: list[str], classes: list[str], folder: Path) -> None:
    for fault, names in (
        ("lacks the classes", sorted(set(train) - set(classes))),
        ("has classes that train has not:", sorted(set(classes) - set(train))),
    ):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise DataError(
                f"{folder.resolve()}: {fault} {', '.join(names[:3])}{more}. Every split must have "
                "the folders of train."
            )
