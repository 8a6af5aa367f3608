"""Made-up images of any shape: a coarse pattern per class plus noise, so they can be learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill_lab.contracts import Arrays, DataInfo, Splits

if TYPE_CHECKING:
    import torch

COARSE_PIXELS = 4
UNIFORM_STD = 0.2887
"""Standard deviation of a uniform number in [0, 1): 1 / sqrt(12)."""


class Fake:
    """Class prototypes of 4x4 random patches, scaled up, with normal noise, clamped to [0, 1].

    Every split cycles through the classes in order, so it is balanced to within one sample.

    Args:
        input_shape: [C, H, W], each >= 1.
        num_classes: >= 2.
        num_train: >= 2 samples, as batch norm cannot train on one.
        num_validation: >= 1 samples.
        num_test: >= 1 samples.
        noise: >= 0, standard deviation of the noise; pixels lie in [0, 1].
        split_seed: decides prototypes and noise; apart from the run's seed, so that runs with
            different seeds share their data.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        input_shape: list[int],
        num_classes: int,
        num_train: int,
        num_validation: int,
        num_test: int,
        noise: float,
        split_seed: int,
    ) -> None:
        if len(input_shape) != 3 or min(input_shape) < 1:
            raise ValueError(f"input_shape: must be [C, H, W], each >= 1, got {list(input_shape)}.")
        if num_classes < 2:
            raise ValueError(f"num_classes: must be >= 2, got {num_classes}.")
        if noise < 0:
            raise ValueError(f"noise: must be >= 0, got {noise}.")
        self.sizes = {
            "num_train": num_train,
            "num_validation": num_validation,
            "num_test": num_test,
        }
        for name, size in self.sizes.items():
            lowest = 2 if name == "num_train" else 1
            if size < lowest:
                raise ValueError(f"{name}: must be >= {lowest}, got {size}.")
        self.noise = noise
        self.split_seed = split_seed
        channels = input_shape[0]
        self.info = DataInfo(
            name="fake",
            input_shape=tuple(input_shape),
            num_classes=num_classes,
            class_names=tuple(f"class {number}" for number in range(num_classes)),
            mean=(0.5,) * channels,
            std=(UNIFORM_STD,) * channels,
        )

    def load(self) -> Splits:
        """Return the un-normalised splits; the same arrays every time."""
        import torch

        generator = torch.Generator().manual_seed(self.split_seed)
        channels = self.info.input_shape[0]
        prototypes = torch.rand(
            self.info.num_classes, channels, COARSE_PIXELS, COARSE_PIXELS, generator=generator
        )
        return Splits(*(self._draw(size, prototypes, generator) for size in self.sizes.values()))

    def _draw(self, size: int, prototypes: torch.Tensor, generator: torch.Generator) -> Arrays:
        import torch
        from torch.nn.functional import interpolate

        targets = torch.arange(size) % self.info.num_classes
        clean = interpolate(prototypes[targets], size=self.info.input_shape[1:])
        noise = torch.randn(clean.shape, generator=generator)
        return Arrays((clean + self.noise * noise).clamp(0, 1), targets)
