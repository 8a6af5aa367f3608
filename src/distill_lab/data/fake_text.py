"""Made-up token ids: a few words per class among words of any class, so they can be learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill_lab.contracts import Arrays, DataInfo, Splits
from distill_lab.data.masked import masked

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
        mask_id: None: rows are to be classified. Or the id of a mask that replaces one word of each
            row, which is then the row's class: words go by the classes' words around them.

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
        mask_id: int | None,
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
        if mask_id is not None and not num_classes * WORDS_PER_CLASS < mask_id < vocabulary_size:
            words = f"a word of no class, in [{num_classes * WORDS_PER_CLASS + 1}, "
            raise ValueError(f"mask_id: must be {words}{vocabulary_size - 1}], got {mask_id}.")
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
        self.num_topics = num_classes
        self.mask_id = mask_id
        names = [f"class {number}" for number in range(num_classes)]
        if mask_id is not None:
            names = [f"word {number}" for number in range(vocabulary_size)]
        self.info = DataInfo(
            name="fake_text" if mask_id is None else "fake_words",
            input_shape=(length,),
            num_classes=len(names),
            class_names=tuple(names),
            mean=(),
            std=(),
            vocabulary_size=vocabulary_size,
            mask_id=mask_id,
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
        targets = torch.arange(size) % self.num_topics
        own = torch.randint(WORDS_PER_CLASS, (size, length), generator=generator)
        own += 1 + targets[:, None] * WORDS_PER_CLASS
        of_any = torch.randint(1, vocabulary, (size, length), generator=generator)
        of_any[of_any == self.mask_id] = 1
        noisy = torch.rand(size, length, generator=generator) < self.noise
        ends = torch.randint(length // 2, length, (size, 1), generator=generator)
        ids = torch.where(noisy, of_any, own).masked_fill(torch.arange(length) > ends, 0)
        if self.mask_id is not None:
            return masked(ids, self.mask_id, generator)
        return Arrays(ids, targets)
