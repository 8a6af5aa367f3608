"""Augmentation of texts: pure functions of the token ids and (seed, index, view)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from distill_lab.contracts import DataInfo
from distill_lab.data.counter import Stream, uniforms

LONGEST = 5  # words of a stretch; Tang et al. 2019


@dataclass(frozen=True)
class WordAugmentation:
    """What is done to training texts at random: cut out a few words in a row, hide words.

    Source: Tang et al. 2019, arXiv:1903.12136, section 3.3, there with 0.1 and 0.25 for twenty
    copies of each text, made once; here each view is another copy. Words are not replaced by others
    of their part of speech.

    Attributes:
        seed: of the run.
        mask_words: in [0, 1], share of the words that are hidden.
        ngram_rows: in [0, 1], share of the rows of which a stretch of 1 to 5 words is left.

    Raises:
        ValueError: a share is out of range.
    """

    seed: int
    mask_words: float = 0.0
    ngram_rows: float = 0.0

    def __post_init__(self) -> None:
        for name in ("mask_words", "ngram_rows"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: must be in [0, 1], got {getattr(self, name)}.")

    @property
    def is_on(self) -> bool:
        """Whether anything is done at all."""
        return bool(self.mask_words or self.ngram_rows)

    def apply(self, ids: Tensor, index: Tensor, view: int, info: DataInfo) -> Tensor:
        """Return rows of token ids, augmented.

        Args:
            ids: (B, L), words without a gap, between `info.marks` where there are some, then 0.
            index: (B,) number of each row in its split; on the CPU.
            view: number of the augmentation.
            info: of the dataset, with a `hidden_id`.
        """
        if self.ngram_rows:
            drawn = uniforms(self.seed, index, view, Stream.NGRAM, 3).to(ids.device)
            chosen = drawn[:, :1] < self.ngram_rows
            ids = torch.where(chosen, stretch(ids, drawn[:, 1], drawn[:, 2], info.marks), ids)
        if self.mask_words:
            places = ids.shape[1]
            drawn = uniforms(self.seed, index, view, Stream.MASK_WORD, places).to(ids.device)
            hidden = is_word(ids, info.marks) & (drawn < self.mask_words)
            assert info.hidden_id is not None  # the preflight has refused others
            ids = torch.where(hidden, info.hidden_id, ids)
        return ids


def is_word(ids: Tensor, marks: tuple[int, ...]) -> Tensor:
    """Return (B, L) bool: neither padding nor a mark."""
    found = ids != 0
    for mark in marks:
        found &= ids != mark
    return found


def stretch(ids: Tensor, length: Tensor, start: Tensor, marks: tuple[int, ...]) -> Tensor:
    """Return rows with 1 to 5 words in a row of the words they had, between the same marks.

    Args:
        ids: (B, L).
        length: (B,) in [0, 1): how many words, by rank.
        start: (B,) in [0, 1): from where on, by rank.
        marks: ids at the beginning and at the end of each row; or none.
    """
    first = 1 if marks else 0
    words = ((ids != 0).sum(1) - (2 if marks else 0)).clamp(min=0)  # a mark between counts as one
    count = torch.minimum((length * LONGEST).long() + 1, words)
    begin = (start * (words - count + 1)).long()
    place = torch.arange(ids.shape[1], device=ids.device)
    inside = (place >= first) & (place < first + count[:, None])
    # Of marks the first stands at the beginning and stays; the last one follows the words.
    source = torch.where(inside, place + begin[:, None], 0)
    kept = torch.where(inside, ids.gather(1, source), 0)
    if marks:
        kept[:, 0] = ids[:, 0]
        kept.scatter_(1, (first + count)[:, None].clamp(max=ids.shape[1] - 1), marks[-1])
    return kept
