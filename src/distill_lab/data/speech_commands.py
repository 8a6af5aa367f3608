"""Speech Commands: which of 35 words is said?"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

from filelock import FileLock

from distill_lab.contracts import Arrays, DataInfo, Splits
from distill_lab.data.log_mel import LogMel
from distill_lab.data.network import SOCKET_SECONDS
from distill_lab.data.wav_folder import pictures
from distill_lab.errors import DataError

ARCHIVE = "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz"
SHA256 = "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"
"""Of the archive, 2.4 GB; as torchaudio and TensorFlow Datasets pin it."""
FOLDER = "speech_commands_v0.02"
LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
WORDS = (
    *("backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward"),
    *("four", "go", "happy", "house", "learn", "left", "marvin", "nine", "no", "off", "on"),
    *("one", "right", "seven", "sheila", "six", "stop", "three", "tree", "two", "up", "visual"),
    *("wow", "yes", "zero"),
)
RATE = 16_000
NUM_FILES = 105_829
"""Recordings of the words; table 1 of arXiv:1804.03209."""


class SpeechCommands:
    """Version 2 with all its 35 words, split by speaker as published.

    Source: Warden 2018, arXiv:1804.03209. The archive is downloaded once, and unpacked beside it.

    Args:
        folder: where the recordings are kept, absolute or from the working directory.
        num_bands: height of the pictures, see `LogMel`.
        num_frames: width of the pictures, see `LogMel`.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, folder: str, num_bands: int, num_frames: int) -> None:
        self.folder = Path(folder)
        self.features = LogMel(RATE, RATE, num_bands, num_frames)
        self.info = DataInfo(
            name="speech_commands",
            input_shape=(1, num_bands, num_frames),
            num_classes=len(WORDS),
            class_names=WORDS,
            mean=(0.0,),  # each picture has zero mean and unit deviation already
            std=(1.0,),
        )

    def load(self) -> Splits:
        """Return pictures of all recordings; the same arrays every time.

        Raises:
            DataError: the archive cannot be had or is not the pinned one, or a file is missing.
        """
        root = self.folder / FOLDER
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{root}.lock"):
                if not root.is_dir():
                    _unpack(root)
        except (OSError, HTTPException, tarfile.TarError) as error:
            raise DataError(f"{ARCHIVE}: cannot be had ({error}).") from error
        return Splits(**{name: self._arrays(root, files) for name, files in listed(root).items()})

    def _arrays(self, root: Path, files: list[str]) -> Arrays:
        import torch

        paths = [str(root / file) for file in files]
        targets = torch.tensor([WORDS.index(file.partition("/")[0]) for file in files])
        return Arrays(pictures(paths, self.features), targets)


def listed(root: Path) -> dict[str, list[str]]:
    """Return the files of each split, sorted: `word/file.wav`.

    Raises:
        DataError: a list or a recording is missing.
    """
    found = sorted(f"{word}/{path.name}" for word in WORDS for path in (root / word).glob("*.wav"))
    try:
        own = {split: set((root / name).read_text().split()) for split, name in LISTS.items()}
    except OSError as error:
        raise DataError(f"{root}: is not whole ({error}). Take it away.") from error
    others = own["validation"] | own["test"]
    lost = sorted(others - set(found))
    if lost or len(found) != NUM_FILES:
        what = f"lacks {lost[0]}" if lost else f"has {len(found):,} recordings, not {NUM_FILES:,}"
        raise DataError(f"{root}: {what}. Take the folder away; it is then unpacked again.")
    splits = {split: [file for file in found if file in own[split]] for split in own}
    return {"train": [file for file in found if file not in others], **splits}


def _unpack(root: Path) -> None:
    """Download the archive into a temporary folder, verify it and unpack it beside `root`."""
    with TemporaryDirectory(dir=root.parent) as name:
        archive, half = Path(name) / "archive", Path(name) / "half"
        with urlopen(ARCHIVE, timeout=SOCKET_SECONDS) as answer, archive.open("wb") as file:
            shutil.copyfileobj(answer, file)
        with archive.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != SHA256:
            raise DataError(f"{ARCHIVE}: SHA-256 must be {SHA256}, got {found}.")
        with tarfile.open(archive) as packed:
            packed.extractall(half, filter="data")
        os.replace(half, root)
