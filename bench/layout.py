"""Bytes that a cache would have at the scale of ImageNet, as the cache itself counts them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

NUM_SAMPLES, NUM_CLASSES = 1_281_167, 1_000  # ILSVRC 2012, training split
KEPT = (("fp32", None), ("fp16", None), ("fp32", 50), ("fp16", 50), ("fp32", 10), ("fp16", 10))


def imagenet() -> list[dict[str, Any]]:
    """Return a row per way to keep logits: numbers, top-k and bytes of a view; writes nothing."""
    return [
        {"dtype": dtype, "top_k": top_k, "view_bytes": view_bytes(dtype, top_k)}
        for dtype, top_k in KEPT
    ]


def view_bytes(dtype: Any, top_k: int | None) -> int:
    """Return the bytes of one view of logits."""
    from distill_lab.knowledge.cache import AnswerCache
    from distill_lab.settings import Cache

    settings = Cache("lazy", "nowhere", dtype, None, top_k, "pooled")
    cache = AnswerCache(Path("nowhere"), NUM_SAMPLES, NUM_CLASSES, {}, settings, changing=True)
    return cache.view_bytes
