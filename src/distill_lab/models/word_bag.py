"""A bag of words: which they are, not in which order."""

from __future__ import annotations

from torch import Tensor, nn

from distill_lab.models.checks import require, require_tokens
from distill_lab.models.pooling import mean_over_words


class WordBag(nn.Module):
    """The mean of the words' embeddings, and a linear layer.

    Source: Joulin et al. 2017 (fastText), arXiv:1607.01759, without its bags of n-grams.

    Args:
        input_shape: (L,) of one input, token ids; 0 is padding.
        num_classes: K.
        vocabulary_size: number of token ids.
        embedding: width of the embedding, >= 1.

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
    ) -> None:
        super().__init__()
        vocabulary = require_tokens(input_shape, vocabulary_size)
        require("embedding", embedding, ">= 1", embedding >= 1)
        self.embedding = nn.Embedding(vocabulary, embedding, padding_idx=0)
        self.classifier = nn.Linear(embedding, num_classes)
        self.taps = ["embedding"]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of token ids (B, L)."""
        logits: Tensor = self.classifier(mean_over_words(self.embedding(inputs), inputs))
        return logits
