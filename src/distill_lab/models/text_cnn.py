"""A convolutional network for text: filters over a few words in a row."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill_lab.models.checks import require, require_dropout, require_tokens, require_widths


class TextCNN(nn.Module):
    """Embedding, convolutions of several widths side by side, each pooled over the text, linear.

    Source: Kim 2014, arXiv:1408.5882, section 2; there widths 3, 4 and 5 with 100 maps each and a
    dropout of 0.5. Here ReLU, and embeddings that are learned from the start; padding is zeros.

    Args:
        input_shape: (L,) of one input, token ids; 0 is padding.
        num_classes: K.
        vocabulary_size: number of token ids.
        embedding: width of the embedding, >= 1.
        widths: words that the filters look at, each in [1, L].
        maps: of each width, >= 1.
        dropout: before the logits, in [0, 1).

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
        widths: list[int],
        maps: int,
        dropout: float,
    ) -> None:
        super().__init__()
        vocabulary = require_tokens(input_shape, vocabulary_size)
        require("embedding", embedding, ">= 1", embedding >= 1)
        require_widths("widths", widths)
        (length,) = input_shape
        require("widths", widths, f"at most {length}, the words of an input", max(widths) <= length)
        require("maps", maps, ">= 1", maps >= 1)
        require_dropout("dropout", dropout)
        self.embedding = nn.Embedding(vocabulary, embedding, padding_idx=0)
        self.convolutions = nn.ModuleList(
            nn.Sequential(nn.Conv1d(embedding, maps, width), nn.ReLU(), nn.AdaptiveMaxPool1d(1))
            for width in widths
        )
        self.pooled = nn.Flatten()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(maps * len(widths), num_classes)
        self.taps = ["pooled"]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of token ids (B, L)."""
        words = self.embedding(inputs).transpose(1, 2)
        found = torch.cat([convolution(words) for convolution in self.convolutions], 1)
        logits: Tensor = self.classifier(self.dropout(self.pooled(found)))
        return logits
