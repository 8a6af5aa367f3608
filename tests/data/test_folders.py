from __future__ import annotations

import os
import shutil

import pytest

from distill_lab.data.folders import IMAGES, classes_in, splits_in
from distill_lab.errors import DataError


@pytest.fixture
def folder(tmp_path):
    """Two classes; no file is an image, as none is opened."""
    root = tmp_path / "pets"
    for split, cats, dogs in (("train", 3, 2), ("validation", 1, 1), ("test", 1, 2)):
        for name, count in (("dog", dogs), ("cat", cats)):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                (root / split / name / f"{number}.jpg").touch()
    return root


def names(files) -> list[str]:
    return [os.path.basename(file.path) for file in files]


def test_each_split_is_listed_by_class_and_name(folder):
    found = splits_in(folder, IMAGES)
    assert set(found) == {"train", "validation", "test"}
    assert found["train"].classes == ["cat", "dog"]
    assert names(found["train"].files) == ["0.jpg", "1.jpg", "2.jpg", "0.jpg", "1.jpg"]
    assert found["train"].targets().tolist() == [0, 0, 0, 1, 1]
    assert found["test"].targets().tolist() == [0, 1, 1]


def test_size_and_time_of_change_are_those_of_the_file(folder):
    path = folder / "train" / "cat" / "1.jpg"
    path.write_bytes(b"12345")
    os.utime(path, ns=(0, 98_765))
    file = splits_in(folder, IMAGES)["train"].files[1]
    assert file == (str(path), 0, 5, 98_765)


def test_val_is_read_as_validation(folder):
    (folder / "validation").rename(folder / "val")
    assert splits_in(folder, IMAGES)["validation"].targets().tolist() == [0, 1]


def test_validation_may_be_missing(folder):
    shutil.rmtree(folder / "validation")
    assert set(splits_in(folder, IMAGES)) == {"train", "test"}


def test_what_is_no_image_and_what_is_hidden_is_left_out(folder):
    (folder / "train" / "cat" / "notes.txt").touch()
    (folder / "train" / "cat" / ".hidden.jpg").touch()
    (folder / "train" / ".cache").mkdir()
    (folder / "train" / "list.jpg").touch()
    found = splits_in(folder, IMAGES)["train"]
    assert found.classes == classes_in(folder / "train") == ["cat", "dog"]
    assert len(found.files) == 5


def test_suffixes_in_capitals_and_folders_below_a_class_are_read(folder):
    (folder / "train" / "cat" / "images").mkdir()
    (folder / "train" / "cat" / "images" / "a.JPEG").touch()
    assert "a.JPEG" in names(splits_in(folder, IMAGES)["train"].files)


def gone(folder):
    shutil.rmtree(folder)


def no_train(folder):
    (folder / "train").rename(folder / "training")


def no_test(folder):
    (folder / "test").rename(folder / "held_out")


def two_validations(folder):
    shutil.copytree(folder / "validation", folder / "val")


def no_classes(folder):
    shutil.rmtree(folder / "test")
    (folder / "test").mkdir()
    (folder / "test" / "image.png").touch()


def empty_class(folder):
    for path in (folder / "validation" / "dog").iterdir():
        path.unlink()


def missing_class(folder):
    shutil.rmtree(folder / "test" / "dog")


def further_class(folder):
    shutil.copytree(folder / "test" / "dog", folder / "test" / "emu")


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (gone, r"data\.folder: there is no folder '\S*pets'\. It must hold train/<class>/"),
        (no_train, r"pets: has no folder 'train'\. It must hold train/<class>/"),
        (no_test, r"pets: has no folder 'test'\. The last stage reads it.* rename val to test"),
        (two_validations, "pets: has both validation and val. Take one away"),
        (no_classes, "pets/test: has no folders. Put the files of each class in one"),
        (empty_class, r"validation/dog: has no file \(.*\.png.*\)\. Put some there, or take"),
        (missing_class, "pets/test: lacks the classes dog. Every split must have the folders of"),
        (further_class, "pets/test: has classes that train has not: emu. Every split must"),
    ],
)
def test_a_folder_laid_out_otherwise_is_refused_with_what_to_do(folder, damage, error):
    damage(folder)
    with pytest.raises(DataError, match=error):
        splits_in(folder, IMAGES)
