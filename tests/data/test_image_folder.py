from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from distill_lab.data.checksum import checksum
from distill_lab.data.image_folder import ImageFolder
from distill_lab.errors import DataError

ARGUMENTS = {
    "num_classes": 2,
    "resize_pixels": 6,
    "crop_pixels": 4,
    "random_resized_crop": False,
    "validation_fraction": 0.25,
    "split_seed": 0,
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "num_workers": 0,
}
LEVELS = {"train": 10, "validation": 110, "test": 210}


def put(folder, split: str, counts: dict[str, int]) -> None:
    """Write images of one grey each, which is of the split plus the number of the image."""
    for name, count in counts.items():
        (folder / split / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.full((6, 6, 3), LEVELS[split] + number, np.uint8)
            Image.fromarray(pixels).save(folder / split / name / f"{number:02}.png")


@pytest.fixture
def folder(tmp_path):
    """Two classes: 8 and 4 images to train on, 2 and 2 to validate and to test on."""
    root = tmp_path / "pets"
    put(root, "train", {"cat": 8, "dog": 4})
    put(root, "validation", {"cat": 2, "dog": 2})
    put(root, "test", {"dog": 2, "cat": 2})
    return root


def dataset(folder, **changes) -> ImageFolder:
    return ImageFolder(**{"folder": str(folder), **ARGUMENTS, **changes})


def levels(inputs) -> list[int]:
    return (inputs[:][:, 0, 0, 0] * 255).round().int().tolist()


def test_every_split_holds_its_images_by_class_and_name(folder):
    splits = dataset(folder).load()
    assert levels(splits.train.inputs) == [*range(10, 18), *range(10, 14)]
    assert splits.train.targets.tolist() == [0] * 8 + [1] * 4
    assert levels(splits.validation.inputs) == [110, 111, 110, 111]
    assert levels(splits.test.inputs) == [210, 211, 210, 211]
    assert splits.test.targets.tolist() == [0, 0, 1, 1]
    assert splits.train.inputs.shape == (12, 3, 4, 4)


def test_what_is_known_before_loading(folder):
    info = dataset(folder).info
    assert info.name == "pets"
    assert info.input_shape == (3, 4, 4)
    assert info.class_names == ("cat", "dog")
    assert info.mean == (0.5, 0.5, 0.5)


def test_it_can_be_made_before_the_folder_is_there(tmp_path):
    info = dataset(tmp_path / "not here", num_classes=3).info
    assert info.name == "not_here"
    assert info.class_names == ("class 0", "class 1", "class 2")


def test_one_mean_makes_the_images_grey(folder):
    made = dataset(folder, mean=[0.5], std=[0.25])
    assert made.info.input_shape == (1, 4, 4)
    assert made.load().train.inputs[:2].shape == (2, 1, 4, 4)


def test_without_validation_a_share_of_each_class_is_split_off_train(folder):
    shutil.rmtree(folder / "validation")
    splits = dataset(folder).load()
    assert splits.validation.targets.tolist() == [0, 0, 1]
    assert splits.train.targets.tolist() == [0] * 6 + [1] * 3
    both = zip(
        levels(splits.train.inputs) + levels(splits.validation.inputs),
        splits.train.targets.tolist() + splits.validation.targets.tolist(),
        strict=True,
    )
    every = [(level, 0) for level in range(10, 18)] + [(level, 1) for level in range(10, 14)]
    assert sorted(both) == sorted(every)


def test_the_split_seed_decides_what_is_split_off(folder):
    shutil.rmtree(folder / "validation")
    held_out = {
        tuple(levels(dataset(folder, split_seed=n).load().validation.inputs)) for n in range(9)
    }
    assert len(held_out) > 1
    again = [levels(dataset(folder, split_seed=4).load().validation.inputs) for _ in range(2)]
    assert again[0] == again[1]


def test_random_crops_are_of_training_alone(folder):
    splits = dataset(folder, random_resized_crop=True).load()
    assert splits.train.inputs.varies
    assert not splits.validation.inputs.varies
    assert not splits.test.inputs.varies


def test_equal_folders_have_equal_checksums_wherever_they_lie(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")  # which keeps the times of change
    expected = checksum(dataset(folder).load())
    assert checksum(dataset(tmp_path / "copy").load()) == expected
    assert checksum(dataset(folder, num_workers=3).load()) == expected


def test_the_checksum_reads_no_file(folder):
    path = folder / "test" / "dog" / "00.png"
    before, times = checksum(dataset(folder).load()), path.stat()
    path.write_bytes(bytes(times.st_size))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert checksum(dataset(folder).load()) == before


def touch(folder):
    os.utime(folder / "test" / "dog" / "00.png", ns=(0, 12345))


def grow(folder):
    path = folder / "test" / "dog" / "00.png"
    times = path.stat()
    path.write_bytes(path.read_bytes() + b"x")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def rename(folder):
    (folder / "test" / "dog" / "00.png").rename(folder / "test" / "dog" / "000.png")


def rename_class(folder):
    for split in ("train", "validation", "test"):
        (folder / split / "dog").rename(folder / split / "duck")


@pytest.mark.parametrize("change", [touch, grow, rename, rename_class])
def test_a_changed_file_changes_the_checksum(folder, change):
    before = checksum(dataset(folder).load())
    change(folder)
    assert checksum(dataset(folder).load()) != before


@pytest.mark.parametrize(
    "change",
    [
        {"resize_pixels": 7},
        {"crop_pixels": 5},
        {"random_resized_crop": True},
        {"mean": [0.5, 0.5, 0.4]},
        {"std": [0.25, 0.25, 0.2]},
    ],
)
def test_what_decides_the_pixels_counts_in_the_checksum(folder, change):
    assert checksum(dataset(folder, **change).load()) != checksum(dataset(folder).load())


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"num_classes": 1}, "num_classes: must be >= 2, got 1"),
        ({"crop_pixels": 0}, "crop_pixels: must be >= 1, got 0"),
        ({"resize_pixels": 3}, "resize_pixels: must be >= crop_pixels, 4, got 3"),
        ({"validation_fraction": 0.0}, r"validation_fraction: must be in \(0, 1\), got 0.0"),
        ({"validation_fraction": 1.0}, r"validation_fraction: must be in \(0, 1\), got 1.0"),
        ({"mean": [0.5, 0.5]}, r"mean: must be one number, or three for colour, got \[0.5, 0.5\]"),
        ({"std": [0.5]}, r"std: must be 3 numbers > 0, got \[0.5\]"),
        ({"std": [0.5, 0.0, 0.5]}, r"std: must be 3 numbers > 0, got \[0.5, 0.0, 0.5\]"),
        ({"num_workers": -1}, "num_workers: must be >= 0, got -1"),
    ],
)
def test_an_argument_out_of_range_is_named(folder, change, error):
    with pytest.raises(ValueError, match=f"^{error}"):
        dataset(folder, **change)


def test_a_folder_that_is_not_there_is_refused_when_it_is_loaded(tmp_path):
    with pytest.raises(DataError, match=r"data\.folder: there is no folder"):
        dataset(tmp_path / "not here").load()


def test_another_number_of_classes_is_refused_with_the_right_one(folder):
    with pytest.raises(DataError, match=r"data\.num_classes: must be 2, .*pets/train, got 3"):
        dataset(folder, num_classes=3).load()


def test_a_share_for_validation_that_is_no_image_is_refused(folder):
    shutil.rmtree(folder / "validation")
    with pytest.raises(
        DataError, match=r"data\.validation_fraction: must leave >= 1 .* 0.01 of 12"
    ):
        dataset(folder, validation_fraction=0.01).load()


def test_a_damaged_image_is_named_when_it_is_read(folder):
    (folder / "train" / "cat" / "03.png").write_bytes(b"no image")
    splits = dataset(folder).load()
    assert splits.train.inputs[:3].shape == (3, 3, 4, 4)
    with pytest.raises(DataError, match=r"train/cat/03\.png: cannot be read as an image"):
        splits.train.inputs[torch.tensor([3])]
