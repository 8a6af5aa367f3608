"""Which language is spoken? Clips of recorded telephone prompts in five languages."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distill_lab.contracts import Arrays, DataInfo, Splits
from distill_lab.data.debian import unpacked
from distill_lab.data.fetch import NamedArrays, fetch
from distill_lab.data.log_mel import LogMel, with_noise
from distill_lab.errors import DataError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

INSTALLED = Path("/usr/share/asterisk/sounds")
"""Where the Debian packages put their files."""
VOICES = {
    "en": "en_US_f_Allison",
    "es": "es_MX_f_Allison",
    "fr": "fr_CA_f_June",
    "it": "it_IT_m_Carlo",
    "ru": "ru_RU_f_IvrvoiceRU",
}
"""Language -> folder of its speaker."""
NAMES = ("English", "Spanish", "French", "Italian", "Russian")
RATE = 8000
SHA256 = "e1b0a8af0661ab79091ea3f4a13be37c9ebe333245750d464a73b69c13b6dea5"
QUIET = 0.01  # root mean square of a clip, of full scale, below which nobody speaks


class VoicePrompts:
    """Clips of equal length; all clips of a recording are in the same split.

    Real recordings, but **of four people**: each language has one speaker, and English and Spanish
    have the same. So it asks for the voice as much as for the language, and says nothing of
    speakers that were not heard. Noise makes it hard.

    Source: the Debian packages asterisk-core-sounds-*-wav 1.6.1, CC BY-SA 3.0.

    Args:
        folder: where the recordings are kept, absolute or from the working directory.
        seconds: length of a clip, in [0.1, 4]; shorter recordings are left out.
        snr_db: white noise that is added to each clip: power of the clip to that of the noise in
            decibels, in [-60, 60]; None: none.
        num_bands: height of the pictures, see `LogMel`.
        num_frames: width of the pictures, see `LogMel`.
        validation_fraction: in (0, 1), share of the recordings that choices are made on.
        test_fraction: in (0, 1), share that is read at the end.
        split_seed: decides which ones, and the noise; apart from the run's seed, so that runs with
            different seeds share their data.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        folder: str,
        seconds: float,
        snr_db: float | None,
        num_bands: int,
        num_frames: int,
        validation_fraction: float,
        test_fraction: float,
        split_seed: int,
    ) -> None:
        if not 0.1 <= seconds <= 4:
            raise ValueError(f"seconds: must be in [0.1, 4], got {seconds}.")
        fractions = {"validation_fraction": validation_fraction, "test_fraction": test_fraction}
        for name, value in fractions.items():
            if not 0 < value < 1:
                raise ValueError(f"{name}: must be in (0, 1), got {value}.")
        if snr_db is not None and not -60 <= snr_db <= 60:
            raise ValueError(f"snr_db: must be in [-60, 60] or null, got {snr_db}.")
        left = 1 - validation_fraction
        if test_fraction >= left:
            raise ValueError(f"test_fraction: must be < {left:g}, got {test_fraction}.")
        self.folder = Path(folder)
        self.snr_db = snr_db
        self.features = LogMel(RATE, round(seconds * RATE), num_bands, num_frames)
        self.fractions = (validation_fraction, test_fraction)
        self.split_seed = split_seed
        self.info = DataInfo(
            name="voice_prompts",
            input_shape=(1, num_bands, num_frames),
            num_classes=len(NAMES),
            class_names=NAMES,
            mean=(0.0,),  # each picture has zero mean and unit deviation already
            std=(1.0,),
        )

    def load(self) -> Splits:
        """Return pictures of the verified recordings; the same arrays every time.

        Raises:
            DataError: no source has them; the text lists why.
        """
        import torch

        from distill_lab.data.split import stratified

        sources = {f"the folder {INSTALLED}": lambda: from_folder(INSTALLED)}
        sources["the Debian packages"] = from_debian
        raw = fetch(self.folder / "voice_prompts.npz", SHA256, sources)
        languages = torch.from_numpy(raw["languages"]).long()
        sizes = tuple(max(1, round(share * len(languages))) for share in self.fractions)
        validation, test, train = stratified(languages, sizes, self.split_seed)
        generator = torch.Generator().manual_seed(self.split_seed)
        return Splits(
            *(
                self._arrays(raw, languages, recordings, generator)
                for recordings in (train, validation, test)
            )
        )

    def _arrays(
        self, raw: NamedArrays, languages: Tensor, chosen: Tensor, generator: torch.Generator
    ) -> Arrays:
        from torch import from_numpy

        clips, owners = clips_of(raw, chosen.tolist(), self.features.num_samples)
        sound = from_numpy(clips).float() / 2**15
        if self.snr_db is not None:
            sound = with_noise(sound, self.snr_db, generator)
        return Arrays(self.features.of(sound), languages[from_numpy(owners)])


def clips_of(raw: NamedArrays, chosen: list[int], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut recordings into clips side by side; what is quiet, or a rest at the end, is left out.

    Returns:
        (M, length) int16, and (M,) the recording that each is of.
    """
    ends = raw["ends"]
    starts = np.concatenate([[0], ends[:-1]])
    clips, owners = [], []
    for number in chosen:
        sound = raw["samples"][starts[number] : ends[number]]
        cut = sound[: len(sound) // length * length].reshape(-1, length)
        level = np.sqrt(np.square(cut / 2**15).mean(1))
        clips.append(cut[level >= QUIET])
        owners += [number] * int((level >= QUIET).sum())
    return np.concatenate(clips), np.array(owners)


def from_folder(folder: Path) -> NamedArrays:
    """Read all recordings but those of silence, by language and path.

    Raises:
        DataError: a recording has another form.
        OSError: a folder is missing.
    """
    samples, languages = [], []
    for number, voice in enumerate(VOICES.values()):
        paths = sorted(path for path in (folder / voice).rglob("*.wav"))
        if not paths:
            raise FileNotFoundError(f"{folder / voice} has no recordings")
        for path in paths:
            if path.parent.name != "silence":
                samples.append(decode(path))
                languages.append(number)
    return {
        "samples": np.concatenate(samples),
        "ends": np.cumsum([len(sound) for sound in samples]),
        "languages": np.array(languages, np.uint8),
    }


def from_debian() -> NamedArrays:
    """Let apt download the packages, which needs no root, and read them without installing them.

    Raises:
        DataError: apt cannot download them, or a recording has another form.
        OSError: there is no apt.
    """
    with unpacked([f"asterisk-core-sounds-{language}-wav" for language in VOICES]) as root:
        return from_folder(root / INSTALLED.relative_to("/"))


def decode(path: Path) -> np.ndarray:
    """Return the samples of a wav file, int16.

    Raises:
        DataError: it has not one channel of 16 bits, 8000 times a second.
    """
    try:
        with wave.open(str(path)) as file:
            form = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            if form != (1, 2, RATE):
                raise DataError(f"{path.name}: must have one channel of 16 bits at {RATE} Hz.")
            return np.frombuffer(file.readframes(file.getnframes()), "<i2")
    except (wave.Error, EOFError) as error:
        raise DataError(f"{path.name}: is no wav file ({error}).") from error
