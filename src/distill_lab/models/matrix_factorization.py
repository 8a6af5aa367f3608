"""Matrix factorisation: a user's factors times those of each item."""

from __future__ import annotations

from torch import Tensor, nn

from distill_lab.models.checks import require
from distill_lab.models.pooling import mean_over_words
from distill_lab.models.sasrec import require_items


class MatrixFactorization(nn.Module):
    """Logits are products of the user's factors with the factors of each item, plus its bias.

    A user's factors are the mean of those of the items in the row, so the order of a row does not
    matter, and of users there is nothing to be learnt but what they had. A table of factors by
    user, as in BPR-MF, would want the number of the user in each row, which no other network
    reads, and could say nothing of a user who was not trained on.

    Source: Kabbur, Ning and Karypis 2013 (FISM), KDD, "FISM: factored item similarity models for
    top-N recommender systems", equation 4 with alpha = 1; there the item asked for is taken out of
    the mean, here it is not in the row. The bias of users is left out: it changes no order.

    Args:
        input_shape: (L,) of one input, items from 1 on, 0 for none.
        num_classes: K, number of items.
        vocabulary_size: K + 1.
        factors: D of users and items, >= 1.

    Raises:
        ValueError: a knob is out of range.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        num_classes: int,
        vocabulary_size: int | None,
        factors: int,
    ) -> None:
        super().__init__()
        vocabulary = require_items(input_shape, num_classes, vocabulary_size)
        require("factors", factors, ">= 1", factors >= 1)
        self.past = nn.Embedding(vocabulary, factors, padding_idx=0)
        self.user = _User()
        self.classifier = nn.Linear(factors, num_classes)
        self.taps = ["user"]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of item rows (B, L)."""
        logits: Tensor = self.classifier(self.user(self.past(inputs), inputs))
        return logits


class _User(nn.Module):
    """A layer of its own, so that losses can read the user's factors."""

    def forward(self, factors: Tensor, items: Tensor) -> Tensor:
        """Return (B, D) of (B, L, D), without the places where a row (B, L) has no item."""
        return mean_over_words(factors, items)
