"""BERT and DistilBERT as transformers has them, with a classifier on the first token."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill_lab.models.checks import require, require_dropout, require_tokens

POSITIONS = 512  # that the published weights know


class Bert(nn.Module):
    """BERT: encoder, pooler, dropout, linear logits.

    Source: Devlin et al. 2019, arXiv:1810.04805; transformers' `BertModel`, whose parameter names
    the encoder has. Attention is not fused, so that its maps can be read and all of it is counted.

    Args:
        input_shape: (L,) of one input, token ids; 0 is padding.
        num_classes: K.
        vocabulary_size: number of token ids.
        num_layers: of the encoder, >= 1.
        width: of the hidden states, a multiple of `num_heads`.
        num_heads: of each attention, >= 1.
        feed_forward: width inside the feed-forward layers, >= 1.
        dropout: of hidden states and of attention, in [0, 1).

    Raises:
        ValueError: a knob is out of range.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        num_classes: int,
        vocabulary_size: int | None,
        num_layers: int,
        width: int,
        num_heads: int,
        feed_forward: int,
        dropout: float,
    ) -> None:
        super().__init__()
        vocabulary = require_tokens(input_shape, vocabulary_size, POSITIONS)
        _require_sizes(num_layers, width, num_heads, feed_forward, dropout)
        from transformers import BertConfig, BertModel  # takes seconds

        config = BertConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            num_hidden_layers=num_layers,
            num_attention_heads=num_heads,
            intermediate_size=feed_forward,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            max_position_embeddings=POSITIONS,
        )
        config._attn_implementation = "eager"
        self.encoder = BertModel(config)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, num_classes)
        self.taps = [*(f"encoder.encoder.layer.{n}" for n in range(num_layers)), "encoder.pooler"]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of token ids (B, L)."""
        said = self.encoder(input_ids=inputs, attention_mask=padding_mask(inputs, self.encoder))
        logits: Tensor = self.classifier(self.dropout(said.pooler_output))
        return logits


class DistilBert(nn.Module):
    """DistilBERT: BERT without token types and pooler; a layer of its own before the logits.

    Source: Sanh et al. 2019, arXiv:1910.01108; transformers' `DistilBertModel` and the head of its
    sequence classification. Otherwise as `Bert`.

    Args:
        input_shape: (L,) of one input, token ids; 0 is padding.
        num_classes: K.
        vocabulary_size: number of token ids.
        num_layers: of the encoder, >= 1.
        width: of the hidden states, a multiple of `num_heads`.
        num_heads: of each attention, >= 1.
        feed_forward: width inside the feed-forward layers, >= 1.
        dropout: of hidden states and of attention, in [0, 1).

    Raises:
        ValueError: a knob is out of range.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        num_classes: int,
        vocabulary_size: int | None,
        num_layers: int,
        width: int,
        num_heads: int,
        feed_forward: int,
        dropout: float,
    ) -> None:
        super().__init__()
        vocabulary = require_tokens(input_shape, vocabulary_size, POSITIONS)
        _require_sizes(num_layers, width, num_heads, feed_forward, dropout)
        from transformers import DistilBertConfig, DistilBertModel  # takes seconds

        config = DistilBertConfig(
            vocab_size=vocabulary,
            dim=width,
            n_layers=num_layers,
            n_heads=num_heads,
            hidden_dim=feed_forward,
            dropout=dropout,
            attention_dropout=dropout,
            max_position_embeddings=POSITIONS,
        )
        config._attn_implementation = "eager"
        self.encoder = DistilBertModel(config)
        self.pre_classifier = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout))
        self.classifier = nn.Linear(width, num_classes)
        layers = [f"encoder.transformer.layer.{number}" for number in range(num_layers)]
        self.taps = [*layers, "pre_classifier"]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of token ids (B, L)."""
        said = self.encoder(input_ids=inputs, attention_mask=padding_mask(inputs, self.encoder))
        logits: Tensor = self.classifier(self.pre_classifier(said.last_hidden_state[:, 0]))
        return logits


def padding_mask(ids: Tensor, encoder: nn.Module) -> Tensor:
    """Return (B, 1, 1, L), 0 for tokens and the lowest number for padding: added to scores.

    transformers makes the same of a mask (B, L), but looks at its values, which meta tensors have
    not.
    """
    dtype = next(encoder.parameters()).dtype
    mask = torch.zeros(ids.shape, dtype=dtype, device=ids.device)
    return mask.masked_fill(ids == 0, torch.finfo(dtype).min)[:, None, None, :]


def _require_sizes(
    num_layers: int, width: int, num_heads: int, feed_forward: int, dropout: float
) -> None:
    require("num_layers", num_layers, ">= 1", num_layers >= 1)
    require("num_heads", num_heads, ">= 1", num_heads >= 1)
    multiple = width >= 1 and width % num_heads == 0
    require("width", width, f"a multiple of num_heads, {num_heads}", multiple)
    require("feed_forward", feed_forward, ">= 1", feed_forward >= 1)
    require_dropout("dropout", dropout)
