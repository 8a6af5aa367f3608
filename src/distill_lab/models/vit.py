"""Vision transformer for small images, with or without a distillation token."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from distill_lab.models.checks import require, require_dropout, require_image

_DEVIATION = 0.02  # of first weights; arXiv:2010.11929 and arXiv:2012.12877
_EPSILON = 1e-6  # of layer norms, as in both code bases


class ViT(nn.Module):
    """Patches to tokens, pre-norm transformer blocks, logits from the class token.

    Source: Dosovitskiy et al. 2021, arXiv:2010.11929, section 3.1. The distillation token is that
    of Touvron et al. 2021 (DeiT), arXiv:2012.12877, section 4: its head, `distillation_head`, is
    taught by `deit_soft` or `deit_hard`. While training, the logits are those of the class token
    alone; in eval mode they are the mean of both heads. Here that head starts at 0, so that where
    nothing teaches it, as in a control, it leaves every decision to the class token.

    Args:
        input_shape: (C, H, W) of one input.
        num_classes: K.
        patch_size: side of a patch in pixels, divides H and W; or its height and width, which
            divide H and W, e.g. all bands of one frame of sound.
        dim: width of a token, D.
        depth: number of blocks.
        num_heads: of the attention, divides `dim`.
        mlp_ratio: hidden units of a block's MLP, as a multiple of `dim`.
        dropout: probability in [0, 1), after the embedding and in each branch of a block.
        distillation_token: adds the second token and its head.

    Attributes:
        token_grid: rows and columns of patches, the last of the tokens.

    Raises:
        ValueError: a knob is out of range, or the patches do not fit.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        num_classes: int,
        patch_size: int | list[int],
        dim: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float,
        dropout: float,
        distillation_token: bool,
    ) -> None:
        super().__init__()
        require_image(input_shape)
        patch = _patch(patch_size, input_shape)
        require("dim", dim, ">= 1", dim >= 1)
        require("depth", depth, ">= 1", depth >= 1)
        _require_divisor("num_heads", num_heads, dim, "dim")
        require("mlp_ratio", mlp_ratio, "at least one hidden unit", int(dim * mlp_ratio) >= 1)
        require_dropout("dropout", dropout)
        channels, height, width = input_shape
        self.token_grid = height // patch[0], width // patch[1]
        num_patches = math.prod(self.token_grid)
        num_tokens = 1 + distillation_token
        self.patches = nn.Conv2d(channels, dim, patch, stride=patch)
        self.tokens = nn.Parameter(torch.empty(1, num_tokens, dim))
        self.positions = nn.Parameter(torch.empty(1, num_tokens + num_patches, dim))
        self.dropout = nn.Dropout(dropout)
        hidden = int(dim * mlp_ratio)
        self.blocks = nn.Sequential(*(Block(dim, num_heads, hidden, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim, eps=_EPSILON)
        self.classifier = nn.Linear(dim, num_classes)
        self.distillation_head = nn.Linear(dim, num_classes) if distillation_token else None
        self.layers_at, self.num_heads = "blocks", num_heads
        self.taps = [f"blocks.{number}" for number in range(depth)]
        _initialise(self)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of inputs (B, C, H, W)."""
        patches = self.patches(inputs).flatten(2).transpose(1, 2)  # (B, patches, D)
        tokens = torch.cat([self.tokens.expand(patches.shape[0], -1, -1), patches], dim=1)
        tokens = self.norm(self.blocks(self.dropout(tokens + self.positions)))
        logits: Tensor = self.classifier(tokens[:, 0])
        if self.distillation_head is None:
            return logits
        distilled: Tensor = self.distillation_head(tokens[:, 1])
        return logits if self.training else (logits + distilled) / 2


class Block(nn.Module):
    """Attention and an MLP, each behind a layer norm and beside a shortcut.

    Args:
        dim: width of a token, D.
        num_heads: of the attention.
        hidden: units of the MLP.
        dropout: probability that an entry of a branch is dropped.
    """

    def __init__(self, dim: int, num_heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim, eps=_EPSILON)
        self.attention = Attention(dim, num_heads)
        self.dropout = nn.Dropout(dropout)
        self.mlp_norm = nn.LayerNorm(dim, eps=_EPSILON)
        self.mlp = nn.Sequential(
            nn.Linear(dim, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, dim),
            nn.Dropout(dropout),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (B, L, D) of tokens (B, L, D)."""
        tokens = tokens + self.dropout(self.attention(self.attention_norm(tokens)))
        mixed: Tensor = tokens + self.mlp(self.mlp_norm(tokens))
        return mixed


class Attention(nn.Module):
    """Self-attention whose maps and projections can be read: `probabilities`, `qkv`.

    Args:
        dim: width of a token, D.
        num_heads: divides D.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.probabilities = nn.Softmax(dim=-1)
        self.projection = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (B, L, D) of tokens (B, L, D)."""
        # Three times (B, heads, L, D / heads).
        query, key, value = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in self.qkv(tokens).chunk(3, dim=-1)
        )
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        attended = self.probabilities(scores) @ value
        projected: Tensor = self.projection(attended.transpose(1, 2).flatten(2))
        return projected


def _initialise(net: ViT) -> None:
    nn.init.trunc_normal_(net.tokens, std=_DEVIATION)
    nn.init.trunc_normal_(net.positions, std=_DEVIATION)
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=_DEVIATION)
            nn.init.zeros_(module.bias)
    if net.distillation_head is not None:
        nn.init.zeros_(net.distillation_head.weight)


def _patch(size: int | list[int], input_shape: tuple[int, ...]) -> tuple[int, int]:
    """Return height and width of a patch."""
    if isinstance(size, int):
        _require_divisor("patch_size", size, math.gcd(*input_shape[1:]), "H and W")
        return size, size
    require("patch_size", size, "one number, or height and width", len(size) == 2)
    for value, whole, of in zip(size, input_shape[1:], "HW", strict=True):
        _require_divisor("patch_size", value, whole, of)
    return size[0], size[1]


def _require_divisor(name: str, value: int, whole: int, of: str) -> None:
    if value >= 1 and whole % value == 0:
        return
    divisors = [n for n in range(1, whole + 1) if whole % n == 0]
    nearest = min(divisors, key=lambda n: abs(n - value))
    raise ValueError(f"{name}: must divide {of}, got {value}. Nearest: {nearest}.")
