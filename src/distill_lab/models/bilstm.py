"""A recurrent network for text: one LSTM reads it forwards, another one backwards."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill_lab.models.checks import require, require_dropout, require_tokens
from distill_lab.models.pooling import largest_over_words


class BiLSTM(nn.Module):
    """Embedding, an LSTM in each direction, the largest of each state over the words, linear.

    Source: Conneau et al. 2017, arXiv:1705.02364, section 3.2.2 (BiLSTM-max), and Tang et al. 2019,
    arXiv:1903.12136, who distil BERT into an LSTM in both directions with a hidden layer of ReLU
    before the logits. Each direction reads the words first and then the padding, whose states are
    not looked at.

    Args:
        input_shape: (L,) of one input, token ids; 0 is padding.
        num_classes: K.
        vocabulary_size: number of token ids.
        embedding: width of the embedding, >= 1.
        hidden: width of the states of one direction, >= 1.
        head: width of the hidden layer before the logits, >= 1.
        dropout: of embeddings and before the logits, in [0, 1).

    Raises:
        ValueError: a knob is out of range.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        num_classes: int,
        vocabulary_size: int | None,
        embedding: int,
        hidden: int,
        head: int,
        dropout: float,
    ) -> None:
        super().__init__()
        vocabulary = require_tokens(input_shape, vocabulary_size)
        for name, value in (("embedding", embedding), ("hidden", hidden), ("head", head)):
            require(name, value, ">= 1", value >= 1)
        require_dropout("dropout", dropout)
        self.embedding = nn.Embedding(vocabulary, embedding, padding_idx=0)
        self.dropout = nn.Dropout(dropout)
        self.forwards = nn.LSTM(embedding, hidden, batch_first=True)
        self.backwards = nn.LSTM(embedding, hidden, batch_first=True)
        self.head = nn.Sequential(nn.Linear(2 * hidden, head), nn.ReLU(), nn.Dropout(dropout))
        self.classifier = nn.Linear(head, num_classes)
        self.taps = ["forwards", "backwards", "head"]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of token ids (B, L)."""
        words = self.dropout(self.embedding(inputs))
        ways = ((self.forwards, words), (self.backwards, last_word_first(words, inputs)))
        found = [largest_over_words(lstm(read)[0], inputs) for lstm, read in ways]
        logits: Tensor = self.classifier(self.head(torch.cat(found, 1)))
        return logits


def last_word_first(words: Tensor, ids: Tensor) -> Tensor:
    """Return (B, L, D) with the words of each row in reverse; the padding behind them stays.

    Args:
        words: (B, L, D).
        ids: (B, L), 0 for padding, which only follows words.
    """
    length = (ids > 0).sum(dim=1, keepdim=True)
    place = torch.arange(ids.shape[1], device=ids.device)
    source = torch.where(place < length, length - 1 - place, place)
    return words.gather(1, source[:, :, None].expand_as(words))
