"""Rows of token ids with one word masked, which is then what is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill_lab.contracts import Arrays

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def masked(ids: Tensor, mask_id: int, generator: torch.Generator) -> Arrays:
    """Replace one word of each row, drawn evenly, by the mask; the word is the row's class.

    As the masked language model of Devlin et al. 2019, arXiv:1810.04805, section 3.1, but for the
    number of masks: there 15 % of the words of a row, of which a tenth keep their word and a tenth
    get another; here one, as a batch has one row of logits per sample.

    Args:
        ids: (N, L) int64, 0 being padding; each row has a word.
        mask_id: of the mask; no word of the rows.
        generator: draws the places.

    Returns:
        Inputs (N, L) and targets (N,), both int64.
    """
    import torch

    words = (ids > 0).float()
    place = torch.multinomial(words, 1, generator=generator)
    return Arrays(ids.scatter(1, place, mask_id), ids.gather(1, place).squeeze(1))
