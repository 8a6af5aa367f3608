"""Fashion-MNIST: pieces of clothing, 28x28, laid out like MNIST and harder."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

import numpy as np

from distill_lab.contracts import Arrays, DataInfo, Splits
from distill_lab.data.debian import unpacked
from distill_lab.data.fetch import NamedArrays, fetch
from distill_lab.data.network import SOCKET_SECONDS
from distill_lab.errors import DataError

NUM_TRAIN = 60_000
SHA256 = "df0f74eb255971ab684b2786281f4e25fd1eb73fb260a8c14f1cad7ef5ae6320"
PACKAGE = "dataset-fashion-mnist"
INSTALLED = Path("/usr/share/datasets/fashion-mnist")
"""Where the Debian package puts its files."""

FILES = {
    "train_inputs": "train-images-idx3-ubyte.gz",
    "train_targets": "train-labels-idx1-ubyte.gz",
    "test_inputs": "t10k-images-idx3-ubyte.gz",
    "test_targets": "t10k-labels-idx1-ubyte.gz",
}
# Two each: of the original, and as Debian has it, the same compressed bytes behind a header without
# name and with another time.
FILE_SHA256 = {
    "train-images-idx3-ubyte.gz": (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    ),
    "train-labels-idx1-ubyte.gz": (
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    ),
    "t10k-images-idx3-ubyte.gz": (
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
    ),
}
STD = {28: 0.3530, 14: 0.3301}
"""Side in pixels -> standard deviation over the pixels of the 60,000."""


class FashionMNIST:
    """The standard 10,000 test images stay the test split; validation is taken from the 60,000.

    Source: Xiao et al. 2017, arXiv:1708.07747.

    Args:
        folder: where the arrays are kept, absolute or from the working directory.
        num_validation: in [1, 59998], how many of the 60,000 choices are made on.
        split_seed: decides which ones, and the order that `num_train` counts in; apart from the
            run's seed, so that runs with different seeds share their splits.
        side: of an image in pixels: 28, or 14, where each pixel is the mean of 2x2.
        num_train: in [2, 60000 - num_validation], how many of the others are trained on, each class
            in proportion; a smaller number takes a part of those of a larger one. None takes all.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self, folder: str, num_validation: int, split_seed: int, side: int, num_train: int | None
    ) -> None:
        if not 1 <= num_validation <= NUM_TRAIN - 2:
            raise ValueError(
                f"num_validation: must be in [1, {NUM_TRAIN - 2}], got {num_validation}."
            )
        if side not in STD:
            raise ValueError(f"side: must be 28 or 14, got {side}.")
        rest = NUM_TRAIN - num_validation
        if num_train is not None and not 2 <= num_train <= rest:
            raise ValueError(f"num_train: must be null or in [2, {rest}], got {num_train}.")
        self.folder = folder
        self.num_validation = num_validation
        self.split_seed = split_seed
        self.side = side
        self.num_train = num_train
        self.info = DataInfo(
            name="fashion_mnist",
            input_shape=(1, side, side),
            num_classes=10,
            class_names=(
                "T-shirt/top",
                "Trouser",
                "Pullover",
                "Dress",
                "Coat",
                "Sandal",
                "Shirt",
                "Sneaker",
                "Bag",
                "Ankle boot",
            ),
            # Over the pixels of the 60,000.
            mean=(0.2860,),
            std=(STD[side],),
        )

    def load(self) -> Splits:
        """Return the verified, un-normalised splits; the same arrays every time.

        Raises:
            DataError: no source has them; the text lists why.
        """
        from distill_lab.data.split import stratified

        sources = {
            f"the folder {INSTALLED}": lambda: from_folder(INSTALLED),
            "torchvision's mirror": from_mirror,
            f"the Debian package {PACKAGE}": from_debian,
        }
        raw = fetch(Path(self.folder) / "fashion_mnist.npz", SHA256, sources)
        inputs, targets, _ = _tensors(raw["train_inputs"], raw["train_targets"], self.side)
        sizes = [self.num_validation]
        if self.num_train is not None and self.num_train < len(targets) - self.num_validation:
            sizes.append(self.num_train)
        validation, train, *_ = stratified(targets, tuple(sizes), self.split_seed)
        return Splits(
            train=Arrays(inputs[train], targets[train]),
            validation=Arrays(inputs[validation], targets[validation]),
            test=_tensors(raw["test_inputs"], raw["test_targets"], self.side),
        )


def from_folder(folder: Path) -> NamedArrays:
    """Read the four files of a folder.

    Raises:
        DataError: a file is not what was pinned.
        OSError: a file is missing.
    """
    return _arrays(lambda file: (folder / file).read_bytes())


def from_mirror() -> NamedArrays:
    """Download the four original files from where torchvision has them.

    Raises:
        DataError: the answer breaks off, or a file is not what was pinned.
        OSError: the network fails.
    """
    from torchvision import datasets

    def download(file: str) -> bytes:
        with urlopen(datasets.FashionMNIST.mirrors[0] + file, timeout=SOCKET_SECONDS) as answer:
            content: bytes = answer.read()
        return content

    try:
        return _arrays(download)
    except HTTPException as error:
        raise DataError(f"the download broke off ({error}).") from error


def from_debian() -> NamedArrays:
    """Let apt download the package, which needs no root, and read it without installing it.

    Raises:
        DataError: apt cannot download it, or a file is not what was pinned.
        OSError: there is no apt.
    """
    with unpacked([PACKAGE]) as root:
        return from_folder(root / INSTALLED.relative_to("/"))


def decode(idx: bytes) -> np.ndarray:
    """Return the array of unsigned bytes that an idx file describes.

    >>> decode(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9])).tolist()
    [7, 8, 9]
    """
    num_axes = idx[3]
    shape = np.frombuffer(idx, ">i4", num_axes, offset=4)
    return np.frombuffer(idx, np.uint8, offset=4 + 4 * num_axes).reshape(shape)


def _arrays(read: Callable[[str], bytes]) -> NamedArrays:
    return {
        name: decode(gzip.decompress(_verified(file, read(file)))) for name, file in FILES.items()
    }


def _verified(file: str, content: bytes) -> bytes:
    found = hashlib.sha256(content).hexdigest()
    if found not in FILE_SHA256[file]:
        pinned = " or ".join(FILE_SHA256[file])
        raise DataError(f"{file}: SHA-256 must be {pinned}, got {found}.")
    return content


def _tensors(inputs: np.ndarray, targets: np.ndarray, side: int) -> Arrays:
    import torch
    from torch.nn.functional import avg_pool2d

    pixels = torch.from_numpy(inputs.astype(np.float32))[:, None]
    # Before the division: sums of whole numbers are exact on every machine.
    pixels = avg_pool2d(pixels, 28 // side) / 255
    return Arrays(pixels, torch.from_numpy(targets.astype(np.int64)))
