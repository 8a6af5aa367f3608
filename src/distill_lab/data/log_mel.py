"""Sound as pictures: the logarithm of its energy by pitch and time, for whole batches at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BATCH = 256  # clips that are transformed at once
WINDOW_SECONDS = 0.032
LOWEST_HERTZ = 20.0
FLOOR = 1e-6
"""Energy that is added before the logarithm, so that silence is finite."""


@dataclass(frozen=True)
class LogMel:
    """How clips become pictures (1, bands, frames) of zero mean and unit deviation each.

    Attributes:
        rate: samples a second.
        num_samples: of a clip.
        num_bands: of the mel scale, from 20 Hz to half the rate, >= 2.
        num_frames: spectra of a clip, at equal distances, >= 2.

    Raises:
        ValueError: an argument is out of range, or a clip is too short for a window.
    """

    rate: int
    num_samples: int
    num_bands: int
    num_frames: int

    def __post_init__(self) -> None:
        for name in ("num_bands", "num_frames"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name}: must be >= 2, got {getattr(self, name)}.")
        most = self._most_bands
        if self.num_bands > most:
            raise ValueError(
                f"num_bands: must be <= {most}, as each needs a frequency of a window of "
                f"{self.window} samples, got {self.num_bands}."
            )
        if self.num_frames > self.num_samples - self.window:
            most = max(0, self.num_samples - self.window)
            raise ValueError(f"num_frames: must be <= {most}, got {self.num_frames}.")

    @property
    def window(self) -> int:
        """Samples that a spectrum is taken of, an even number."""
        return 2 * round(WINDOW_SECONDS * self.rate / 2)

    @property
    def hop(self) -> int:
        """Samples from one spectrum to the next."""
        return (self.num_samples - self.window) // (self.num_frames - 1)

    @property
    def _most_bands(self) -> int:
        """How many bands there can be, of which the lowest still has a frequency inside."""
        step, low, high = self.rate / self.window, _mel(LOWEST_HERTZ), _mel(self.rate / 2)
        most = 1
        while True:
            width = (high - low) / (most + 2)
            edges = [_hertz(low + place * width) for place in range(most + 3)]
            first = (math.floor(edge / step) + 1 for edge in edges)
            if any(f * step >= end for f, end in zip(first, edges[2:], strict=False)):
                return most
            most += 1

    def of(self, clips: Tensor) -> Tensor:
        """Return (N, 1, bands, frames) float32 of clips (N, num_samples) in [-1, 1]."""
        import torch

        return torch.cat([self._of_batch(some) for some in clips.split(BATCH)])

    def _of_batch(self, clips: Tensor) -> Tensor:
        import torch

        spectrum = torch.stft(
            clips,
            self.window,
            self.hop,
            window=torch.hann_window(self.window),
            center=False,
            return_complex=True,
        )[:, :, : self.num_frames]
        energy = self._bands().T @ spectrum.abs().square()
        picture = (energy + FLOOR).log()
        mean = picture.mean((1, 2), keepdim=True)
        return ((picture - mean) / (picture.std((1, 2), keepdim=True) + FLOOR))[:, None]

    def _bands(self) -> Tensor:
        """Return (window / 2 + 1, bands): how much of each frequency is in each band."""
        import torch
        from transformers.audio_utils import mel_filter_bank

        bank = mel_filter_bank(
            self.window // 2 + 1,
            self.num_bands,
            LOWEST_HERTZ,
            self.rate / 2,
            self.rate,
            mel_scale="htk",
        )
        return torch.from_numpy(bank).float()


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


def _hertz(mel: float) -> float:
    return 700 * (10 ** (mel / 2595) - 1)


def with_noise(clips: Tensor, snr_db: float, generator: torch.Generator) -> Tensor:
    """Add white noise to clips (N, T), each at the same ratio of powers.

    Args:
        clips: in [-1, 1].
        snr_db: power of the clip to that of the noise, decibels.
        generator: draws the noise.
    """
    import torch

    noise = torch.randn(clips.shape, generator=generator)
    power = clips.square().mean(1, keepdim=True) * 10 ** (-snr_db / 10)
    return clips + noise * power.sqrt()
