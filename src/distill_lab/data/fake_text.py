"""Made-up token ids: a few words per class among words of any class, so they can be learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill_lab.contracts import Arrays, DataInfo, Splits

if TYPE_CHECKING:
    import torch

WORDS_PER_CLASS = 8


class FakeText:
    """Rows of token ids, each padded with 0 from a random place in its second half on.

    A class has words of its own; every place of a row has one of them, or, with probability
    `noise`, any word of the vocabulary. Every split cycles through the classes in order.

    Args:
        length: L, tokens of a row with its padding, >= 2.
        vocabulary_size: ids lie below it; > 8 per class, as 0 is padding.
        num_classes: >= 2.
        num_train: >= 2 samples, as batch norm cannot train on one.
        num_validation: >= 1 samples.
        num_test: >= 1 samples.
        noise: in [0, 1], share of words that say nothing of the class.
        split_seed: decides all words; apart from the run's seed, so that runs with different seeds
            share their data.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        length: int,
        vocabulary_size: int,
        num_classes: int,
        num_train: int,
        num_validation: int,
        num_test: int,
        noise: float,
        split_seed: int,
    ) -> None:
        if length < 2:
            raise ValueError(f"length: must be >= 2, got {length}.")
        if num_classes < 2:
            raise ValueError(f"num_classes: must be >= 2, got {num_classes}.")
        if vocabulary_size <= num_classes * WORDS_PER_CLASS:
            least = num_classes * WORDS_PER_CLASS + 1
            raise ValueError(f"vocabulary_size: must be >= {least}, got {vocabulary_size}.")
        if not 0 <= noise <= 1:
            raise ValueError(f"noise: must be in [0, 1], got {noise}.")
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
        self.info = DataInfo(
            name="fake_text",
            input_shape=(length,),
            num_classes=num_classes,
            class_names=tuple(f"class {number}" for number in range(num_classes)),
            mean=(),
            std=(),
            vocabulary_size=vocabulary_size,
        )

    def load(self) -> Splits:
        """Return the splits; the same arrays every time."""
        import torch

        generator = torch.Generator().manual_seed(self.split_seed)
        return Splits(*(self._draw(size, generator) for size in self.sizes.values()))

    def _draw(self, size: int, generator: torch.Generator) -> Arrays:
        import torch

        (length,), vocabulary = self.info.input_shape, self.info.vocabulary_size
        assert vocabulary is not None  # said in the constructor
        targets = torch.arange(size) % self.info.num_classes
        own = torch.randint(WORDS_PER_CLASS, (size, length), generator=generator)
        own += 1 + targets[:, None] * WORDS_PER_CLASS
        of_any = torch.randint(1, vocabulary, (size, length), generator=generator)
        noisy = torch.rand(size, length, generator=generator) < self.noise
        ends = torch.randint(length // 2, length, (size, 1), generator=generator)
        ids = torch.where(noisy, of_any, own).masked_fill(torch.arange(length) > ends, 0)
        return Arrays(ids, targets)
