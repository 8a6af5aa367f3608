"""A transformer that names the next item of a user."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_lab.models.checks import require, require_dropout, require_tokens


class SASRec(nn.Module):
    """Item and position embeddings, causal attention, products with the item embeddings.

    Source: Kang and McAuley 2018, arXiv:1808.09781, section 3; there pre-norm blocks with ReLU and
    one embedding for items that are read and items that are named. Here the positions are counted
    from the latest item, and the loss is over all items.

    Args:
        input_shape: (L,) of one input, items from 1 on, the latest one last, then 0.
        num_classes: K, number of items.
        vocabulary_size: K + 1.
        dim: D of the embeddings, a multiple of `num_heads`.
        depth: number of blocks, >= 1.
        num_heads: of each attention, >= 1.
        dropout: of embeddings and of each branch of a block, in [0, 1).

    Raises:
        ValueError: a knob is out of range.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        num_classes: int,
        vocabulary_size: int | None,
        dim: int,
        depth: int,
        num_heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        vocabulary = require_items(input_shape, num_classes, vocabulary_size)
        require("depth", depth, ">= 1", depth >= 1)
        require("num_heads", num_heads, ">= 1", num_heads >= 1)
        multiple = dim >= 1 and dim % num_heads == 0
        require("dim", dim, f"a multiple of num_heads, {num_heads}", multiple)
        require_dropout("dropout", dropout)
        self.items = nn.Embedding(vocabulary, dim, padding_idx=0)
        self.positions = nn.Embedding(input_shape[0], dim)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(CausalBlock(dim, num_heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.bias = nn.Parameter(torch.zeros(num_classes))
        self.classifier = None  # shares its weights with the embedding
        self.num_heads = num_heads
        self.taps = ["norm"]
        nn.init.normal_(self.items.weight, std=dim**-0.5)
        nn.init.normal_(self.positions.weight, std=dim**-0.5)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of item rows (B, L)."""
        length = inputs.shape[1]
        place = torch.arange(length, device=inputs.device)
        count = (inputs > 0).sum(1, keepdim=True)
        age = (count - 1 - place).clamp(min=0)
        hidden = self.dropout(self.items(inputs) + self.positions(age))
        later = torch.ones(length, length, dtype=torch.bool, device=inputs.device).triu(1)
        mask = hidden.new_zeros(length, length).masked_fill(later, torch.finfo(hidden.dtype).min)
        for block in self.blocks:
            hidden = block(hidden, mask)
        state = self.norm(latest(hidden, inputs))
        return F.linear(state, self.items.weight[1:], self.bias)


class CausalBlock(nn.Module):
    """Attention to what came before and a layer of ReLU, each behind a norm and beside a shortcut.

    Args:
        dim: D.
        num_heads: divides D.
        dropout: probability that an entry of a branch is dropped.
    """

    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.projection = nn.Linear(dim, dim)
        self.mlp_norm = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return (B, L, D) of (B, L, D); the mask (L, L) is added to scores."""
        query, key, value = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in self.qkv(self.attention_norm(hidden)).chunk(3, dim=-1)
        )
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5 + mask
        attended = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
        hidden = hidden + self.dropout(self.projection(attended))
        mixed: Tensor = hidden + self.dropout(self.mlp(self.mlp_norm(hidden)))
        return mixed


def latest(hidden: Tensor, items: Tensor) -> Tensor:
    """Return (B, D) of (B, L, D) at the latest item of each row (B, L); the first where none is."""
    place = ((items > 0).sum(1) - 1).clamp(min=0)
    return hidden[torch.arange(items.shape[0], device=items.device), place]


def require_items(
    input_shape: tuple[int, ...], num_classes: int, vocabulary_size: int | None
) -> int:
    """Refuse inputs that are no rows of items, each of which is a class.

    Returns:
        The size of the vocabulary.

    Raises:
        ValueError: as said.
    """
    vocabulary = require_tokens(input_shape, vocabulary_size)
    rule = f"{vocabulary - 1}, each item being a class; take data of items, e.g. movielens_100k"
    require("num_classes", num_classes, rule, num_classes == vocabulary - 1)
    return vocabulary
