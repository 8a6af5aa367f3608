"""BERT and DistilBERT as transformers has them, that classify a row or name its masked word."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_lab.models.checks import require, require_dropout, require_tokens

POSITIONS = 512  # that the published weights know


class Bert(nn.Module):
    """BERT: encoder, pooler, dropout, linear logits; or, with `mask_id`, encoder and word head.

    Source: Devlin et al. 2019, arXiv:1810.04805; transformers' `BertModel`, whose parameter names
    the encoder has. Attention is not fused, so that its maps can be read and all of it is counted.

    Args:
        input_shape: (L,) of one input, token ids; 0 is padding.
        num_classes: K.
        vocabulary_size: number of token ids.
        mask_id: None: the first token's hidden state is classified. Or the id of the one word of a
            row that is masked: the logits say which it was, and K is the size of the vocabulary.
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
        mask_id: int | None,
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
        self.encoder = BertModel(config, add_pooling_layer=mask_id is None)
        self.mask_id = mask_id
        if mask_id is None:
            self.dropout = nn.Dropout(dropout)
            self.classifier: nn.Linear | None = nn.Linear(width, num_classes)
        else:
            self.classifier = None
            self.word_head = WordHead(width, vocabulary)
        self.num_heads = num_heads
        self.layers_at = "encoder.encoder.layer"
        pooler = ["encoder.pooler"] if mask_id is None else []
        self.taps = [*(f"{self.layers_at}.{number}" for number in range(num_layers)), *pooler]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of token ids (B, L)."""
        said = self.encoder(input_ids=inputs, attention_mask=padding_mask(inputs, self.encoder))
        if self.mask_id is not None:
            hidden = at_mask(said.last_hidden_state, inputs, self.mask_id)
            return self.word_head(hidden, self.encoder.embeddings.word_embeddings.weight)
        assert self.classifier is not None  # without a mask
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
        mask_id: None: the first token's hidden state is classified. Or the id of the one word of a
            row that is masked: the logits say which it was, and K is the size of the vocabulary.
        num_layers: of the encoder, >= 1.
        width: of the hidden states, a multiple of `num_heads`.
        num_heads: of each attention, >= 1.
        feed_forward: width inside the feed-forward layers, >= 1.
        dropout: of hidden states and of attention, in [0, 1).

    Raises:
        ValueError: a knob is out of range.
    """

    layer_names: ClassVar[dict[str, str]] = {
        "attention.q_lin": "attention.self.query",
        "attention.k_lin": "attention.self.key",
        "attention.v_lin": "attention.self.value",
        "attention.out_lin": "attention.output.dense",
        "sa_layer_norm": "attention.output.LayerNorm",
        "ffn.lin1": "intermediate.dense",
        "ffn.lin2": "output.dense",
        "output_layer_norm": "output.LayerNorm",
    }
    """What BERT calls the parts of a layer."""

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        num_classes: int,
        vocabulary_size: int | None,
        mask_id: int | None,
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
        self.mask_id = mask_id
        if mask_id is None:
            self.pre_classifier = nn.Sequential(
                nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout)
            )
            self.classifier: nn.Linear | None = nn.Linear(width, num_classes)
        else:
            self.classifier = None
            self.word_head = WordHead(width, vocabulary)
        self.num_heads = num_heads
        self.layers_at = "encoder.transformer.layer"
        layers = [f"{self.layers_at}.{number}" for number in range(num_layers)]
        self.taps = [*layers, "pre_classifier"] if mask_id is None else layers

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of token ids (B, L)."""
        said = self.encoder(input_ids=inputs, attention_mask=padding_mask(inputs, self.encoder))
        hidden = said.last_hidden_state
        if self.mask_id is not None:
            words = self.encoder.embeddings.word_embeddings.weight
            return self.word_head(at_mask(hidden, inputs, self.mask_id), words)
        assert self.classifier is not None  # without a mask
        logits: Tensor = self.classifier(self.pre_classifier(hidden[:, 0]))
        return logits


class WordHead(nn.Module):
    """Logits over the vocabulary: linear, GELU, layer norm, product with the word embeddings.

    Args:
        width: D of the hidden states.
        vocabulary_size: V.
    """

    def __init__(self, width: int, vocabulary_size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))

    def forward(self, hidden: Tensor, words: Tensor) -> Tensor:
        """Return (B, V) of hidden states (B, D) and the embeddings (V, D), which are shared."""
        return F.linear(self.norm(F.gelu(self.dense(hidden))), words, self.bias)


def at_mask(hidden: Tensor, ids: Tensor, mask_id: int) -> Tensor:
    """Return the hidden state (B, D) of (B, L, D) at the masked word; the first where none is."""
    place = (ids == mask_id).int().argmax(dim=1)
    return hidden[torch.arange(ids.shape[0], device=ids.device), place]


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
