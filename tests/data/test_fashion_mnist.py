from __future__ import annotations

import gzip
import hashlib
import io
import os
import struct
from http.client import IncompleteRead
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from distill_lab.data import fashion_mnist
from distill_lab.data.checksum import checksum, digest
from distill_lab.data.fashion_mnist import (
    FILES,
    FashionMNIST,
    decode,
    from_debian,
    from_mirror,
)
from distill_lab.errors import DataError


def toy_arrays() -> dict[str, np.ndarray]:
    random = np.random.RandomState(0)
    return {
        "train_inputs": random.randint(0, 256, (60, 28, 28)).astype(np.uint8),
        "train_targets": (np.arange(60) % 10).astype(np.uint8),
        "test_inputs": random.randint(0, 256, (20, 28, 28)).astype(np.uint8),
        "test_targets": (np.arange(20) % 10).astype(np.uint8),
    }


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">i{array.ndim}i", 0x800 + array.ndim, *array.shape) + array.tobytes()


def offline(*args, **kwargs):
    raise OSError("Name or service not known")


@pytest.fixture
def toy_folder(tmp_path, monkeypatch) -> Path:
    """The four files of toy arrays, pinned, installed, and the only source."""
    folder = tmp_path / "installed"
    folder.mkdir()
    arrays, pins = toy_arrays(), {}
    for name, file in FILES.items():
        (folder / file).write_bytes(gzip.compress(idx(arrays[name])))
        pins[file] = ("0", hashlib.sha256((folder / file).read_bytes()).hexdigest())
    monkeypatch.setattr(fashion_mnist, "FILE_SHA256", pins)
    monkeypatch.setattr(fashion_mnist, "SHA256", digest(arrays))
    monkeypatch.setattr(fashion_mnist, "INSTALLED", folder)
    monkeypatch.setattr(fashion_mnist, "from_mirror", offline)
    monkeypatch.setattr(fashion_mnist, "from_debian", offline)
    return folder


@pytest.fixture
def make(toy_folder, tmp_path):
    defaults = {"num_validation": 10, "split_seed": 0, "side": 28, "num_train": None}
    return lambda **changes: FashionMNIST(str(tmp_path / "cache"), **(defaults | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_validation": 0}, r"num_validation: must be in \[1, 59998\], got 0\."),
        ({"num_validation": 59_999}, r"num_validation: must be in \[1, 59998\], got 59999\."),
        ({"side": 7}, r"side: must be 28 or 14, got 7\."),
        ({"num_train": 1}, r"num_train: must be null or in \[2, 59990\], got 1\."),
        ({"num_train": 59_991}, r"num_train: must be null or in \[2, 59990\], got 59991\."),
    ],
)
def test_an_argument_out_of_range_is_named(make, changes, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        make(**changes)


@pytest.mark.parametrize("side", [28, 14])
def test_the_constructor_touches_no_file(make, tmp_path, side):
    info = make(side=side).info
    assert (info.input_shape, info.num_classes) == ((1, side, side), 10)
    assert not (tmp_path / "cache").exists()


def test_class_names_are_those_of_torchvision(make):
    assert list(make().info.class_names) == datasets.FashionMNIST.classes


def test_torchvision_has_the_same_four_files():
    assert [file for file, _ in datasets.FashionMNIST.resources] == list(FILES.values())
    assert datasets.FashionMNIST.mirrors[0].endswith("/")


def test_decode_undoes_the_idx_form():
    for array in toy_arrays().values():
        np.testing.assert_array_equal(decode(idx(array)), array, strict=True)


def test_validation_is_stratified_and_the_test_split_stays_whole(make):
    train, validation, test = make().load()
    assert train.inputs.shape == (50, 1, 28, 28)
    assert validation.targets.bincount().tolist() == [1] * 10
    assert test.targets.tolist() == toy_arrays()["test_targets"].tolist()
    assert train.inputs.dtype == test.inputs.dtype == torch.float32
    assert train.targets.dtype == test.targets.dtype == torch.int64
    expected = torch.from_numpy(toy_arrays()["test_inputs"] / np.float32(255))
    assert torch.equal(test.inputs[:, 0], expected)


def test_half_the_side_averages_two_by_two_pixels_of_the_same_images(make):
    for whole, half in zip(make().load(), make(side=14).load(), strict=True):
        assert half.inputs.shape == (len(whole.targets), 1, 14, 14)
        assert torch.equal(half.targets, whole.targets)
        parts = [whole.inputs[..., row::2, column::2] for row in (0, 1) for column in (0, 1)]
        torch.testing.assert_close(half.inputs, torch.stack(parts).mean(0))


def rows(arrays) -> set[bytes]:
    return {image.numpy().tobytes() for image in arrays.inputs}


def test_fewer_training_images_are_a_balanced_part_of_more_and_nothing_else_moves(make):
    every, some, few = (make(num_train=size).load() for size in (None, 30, 20))
    assert few.train.targets.bincount().tolist() == [2] * 10
    assert rows(few.train) < rows(some.train) < rows(every.train)
    assert checksum(few._replace(train=every.train)) == checksum(every)


def test_a_number_of_all_training_images_takes_all(make):
    assert checksum(make(num_train=50).load()) == checksum(make().load())


def test_the_split_seed_decides_which_images_validate(make):
    first = checksum(make().load())
    assert checksum(make().load()) == first
    assert checksum(make(split_seed=1).load()) != first


def test_the_second_load_needs_no_source(make, toy_folder):
    first = checksum(make().load())
    for file in toy_folder.iterdir():
        file.unlink()
    assert checksum(make().load()) == first


@pytest.mark.parametrize("file", FILES.values())
@pytest.mark.parametrize(
    "alter",
    [lambda data: data[:-9], lambda data: data[:-1] + b"?", lambda data: b""],
    ids=["truncated", "altered", "empty"],
)
def test_a_file_that_was_not_pinned_is_named_and_not_opened(make, toy_folder, file, alter):
    (toy_folder / file).write_bytes(alter((toy_folder / file).read_bytes()))
    with pytest.raises(DataError, match=rf"the folder .*installed: {file}: SHA-256 must be 0 or "):
        make().load()


def test_a_missing_file_is_named(make, toy_folder):
    (toy_folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"the folder .*t10k-labels-idx1-ubyte\.gz"):
        make().load()


def test_files_are_downloaded_from_where_torchvision_has_them_in_bounded_time(
    toy_folder, monkeypatch
):
    asked = []

    def answer(url, timeout):
        asked.append((url, timeout))
        return io.BytesIO((toy_folder / url.rpartition("/")[2]).read_bytes())

    monkeypatch.setattr(fashion_mnist, "urlopen", answer)
    assert digest(from_mirror()) == digest(toy_arrays())
    mirror = datasets.FashionMNIST.mirrors[0]
    assert asked == [(mirror + file, fashion_mnist.SOCKET_SECONDS) for file in FILES.values()]


def test_a_download_that_breaks_off_is_the_reason(monkeypatch):
    def broken(url, timeout):
        raise IncompleteRead(b"half", 9)

    monkeypatch.setattr(fashion_mnist, "urlopen", broken)
    with pytest.raises(DataError, match=r"broke off \(IncompleteRead\(4 bytes read, 9 more"):
        from_mirror()


def script(folder: Path, name: str, body: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def path(tmp_path, monkeypatch) -> Path:
    """A folder for programs that stand before all others."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path / "bin"


def test_the_debian_package_is_unpacked_and_read_but_not_installed(toy_folder, path):
    script(path, "apt-get", 'test "$*" = "--quiet download dataset-fashion-mnist" && touch a.deb')
    inside = f"./{toy_folder}"
    script(
        path, "dpkg-deb", f'test "$2" = a.deb && mkdir -p {inside} && cp {toy_folder}/* {inside}'
    )
    assert digest(from_debian()) == digest(toy_arrays())


def test_the_last_line_of_apt_is_the_reason(path):
    script(path, "apt-get", "echo 'W: first\nE: Unable to locate package' >&2; exit 100")
    with pytest.raises(DataError, match=r"^E: Unable to locate package$"):
        from_debian()


def test_an_apt_that_hangs_is_stopped(path, monkeypatch):
    script(path, "apt-get", "exec sleep 30")
    monkeypatch.setattr("distill_lab.data.debian.LIMIT_SECONDS", 0.1)
    with pytest.raises(DataError, match=r"^apt-get took more than 0\.1 s\.$"):
        from_debian()


def test_where_there_is_no_apt_every_source_is_listed(make, toy_folder, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "from_debian", from_debian)
    monkeypatch.setattr(fashion_mnist, "INSTALLED", toy_folder / "none")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DataError) as caught:
        make().load()
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("fashion_mnist.npz: every source failed:")
    assert [line.partition(":")[0].strip() for line in lines[1:4]] == [
        f"the folder {toy_folder / 'none'}",
        "torchvision's mirror",
        "the Debian package dataset-fashion-mnist",
    ]
    assert "'apt-get'" in lines[3]


@pytest.fixture(scope="module")
def real_folder(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("cache"))
    try:
        FashionMNIST(folder, 5000, 0, 28, None).load()
    except DataError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("side", [28, 14])
def test_the_real_arrays_are_balanced_and_have_the_declared_mean_and_deviation(real_folder, side):
    data = FashionMNIST(real_folder, 5000, 0, side, None)
    train, validation, test = data.load()
    assert [len(split.targets) for split in (train, validation, test)] == [55_000, 5_000, 10_000]
    assert torch.cat([train.targets, validation.targets]).bincount().tolist() == [6000] * 10
    assert test.targets.bincount().tolist() == [1000] * 10
    pixels = torch.cat([train.inputs, validation.inputs]).double()
    assert pixels.mean().item() == pytest.approx(data.info.mean[0], abs=1e-4)
    assert pixels.std().item() == pytest.approx(data.info.std[0], abs=1e-4)
