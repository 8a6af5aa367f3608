from __future__ import annotations

import hashlib
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision import datasets

from distill_lab.data.cifar import CIFAR
from distill_lab.errors import DataError

PER_CLASS = 3


@pytest.fixture(params=[10, 100])
def num_classes(request):
    return request.param


@pytest.fixture
def files(num_classes, tmp_path, monkeypatch):
    """Files as torchvision has them, with few images, and their checksums for the original ones."""
    kind = datasets.CIFAR10 if num_classes == 10 else datasets.CIFAR100
    folder = tmp_path / kind.base_folder
    folder.mkdir()
    names = [name for name, _ in (*kind.train_list, *kind.test_list)]
    pixels, sums = {}, {}

    def keep(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()

    for number, name in enumerate(names):
        random = np.random.RandomState(number)
        labels = list(np.arange(PER_CLASS * num_classes) % num_classes)
        pixels[name] = random.randint(0, 256, (len(labels), 3072)).astype(np.uint8)
        key = "labels" if num_classes == 10 else "fine_labels"
        keep(name, {"data": pixels[name], key: [int(label) for label in labels]})
    info = CIFAR(num_classes, str(tmp_path), 10, 0).info
    keep(kind.meta["filename"], {kind.meta["key"]: list(info.class_names)})
    for listed in ("train_list", "test_list"):
        found = [[name, sums[name]] for name, _ in getattr(kind, listed)]
        monkeypatch.setattr(kind, listed, found)
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": sums[kind.meta["filename"]]})

    def no_network(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", no_network)
    return folder, kind, pixels


def test_names_and_shape_are_known_without_a_file(num_classes, tmp_path):
    info = CIFAR(num_classes, str(tmp_path / "cache"), 5000, 0).info
    assert info.name == f"cifar{num_classes}"
    assert len(set(info.class_names)) == info.num_classes == num_classes
    assert list(info.class_names) == sorted(info.class_names)
    assert not (tmp_path / "cache").exists()


def test_pixels_are_those_of_the_files_and_validation_is_stratified(files, num_classes, tmp_path):
    _, kind, pixels = files
    train, validation, test = CIFAR(num_classes, str(tmp_path), num_classes, 0).load()
    [name] = [name for name, _ in kind.test_list]
    expected = torch.from_numpy(pixels[name]).float().div(255).view(-1, 3, 32, 32)
    assert torch.equal(test.inputs, expected)
    assert test.targets.tolist() == list(range(num_classes)) * PER_CLASS
    assert validation.targets.bincount().tolist() == [1] * num_classes
    all_known = len(kind.train_list) * PER_CLASS * num_classes
    assert len(train.targets) == all_known - num_classes
    assert train.inputs.shape[1:] == (3, 32, 32)
    assert train.targets.dtype == torch.int64


def test_an_altered_file_that_cannot_be_downloaded_again_is_told(files, num_classes, tmp_path):
    folder, kind, _ = files
    name = kind.train_list[0][0]
    (folder / name).write_bytes(b"altered")
    text = rf"cifar{num_classes}: cannot be had \(no network\)\. Run once with a network, or copy"
    with pytest.raises(DataError, match=text):
        CIFAR(num_classes, str(tmp_path), num_classes, 0).load()


def test_other_classes_than_those_known_are_refused(files, num_classes, tmp_path):
    data = CIFAR(num_classes, str(tmp_path), num_classes, 0)
    data.info = replace(data.info, class_names=(*data.info.class_names[:-1], "other"))
    with pytest.raises(DataError, match="its classes are others"):
        data.load()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_classes": 20}, "num_classes: must be 10 or 100, got 20."),
        ({"num_validation": 0}, r"num_validation: must be in \[1, 49998\], got 0"),
        ({"num_validation": 49_999}, r"num_validation: must be in \[1, 49998\], got 49999"),
    ],
)
def test_arguments_out_of_range_are_named(changes, said):
    given = {"num_classes": 10, "folder": "x", "num_validation": 5, "split_seed": 0}
    with pytest.raises(ValueError, match=said):
        CIFAR(**given | changes)
