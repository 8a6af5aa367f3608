"""A recurrent network that names the next item of a user."""

from __future__ import annotations

from torch import Tensor, nn

from distill_lab.models.checks import require, require_dropout
from distill_lab.models.sasrec import latest, require_items


class GRU4Rec(nn.Module):
    """Item embedding, gated recurrent units, a linear layer over all items from the last state.

    Source: Hidasi et al. 2016, arXiv:1511.06939, section 3; the loss is over all items.

    Args:
        input_shape: (L,) of one input, items from 1 on, the latest one last, then 0.
        num_classes: K, number of items.
        vocabulary_size: K + 1.
        embedding: width of the embedding, >= 1.
        hidden: width of the states, >= 1.
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
        dropout: float,
    ) -> None:
        super().__init__()
        vocabulary = require_items(input_shape, num_classes, vocabulary_size)
        require("embedding", embedding, ">= 1", embedding >= 1)
        require("hidden", hidden, ">= 1", hidden >= 1)
        require_dropout("dropout", dropout)
        self.items = nn.Embedding(vocabulary, embedding, padding_idx=0)
        self.recurrent = nn.GRU(embedding, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden, num_classes)
        self.taps = ["recurrent"]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of item rows (B, L)."""
        states, _ = self.recurrent(self.dropout(self.items(inputs)))
        logits: Tensor = self.classifier(self.dropout(latest(states, inputs)))
        return logits
