"""Range checks shared by the networks, so that every bad knob is reported in the same form."""

from __future__ import annotations

from typing import Any


def require(name: str, value: Any, rule: str, ok: bool) -> None:
    """Refuse a knob that breaks its rule.

    Raises:
        ValueError: `ok` is false.

    >>> require("depth", 3, ">= 1", True)
    """
    if not ok:
        raise ValueError(f"{name}: must be {rule}, got {value!r}.")


def require_widths(name: str, values: list[int]) -> None:
    """Refuse a list of layer widths that is empty or holds anything below 1.

    Raises:
        ValueError: as said.
    """
    ok = len(values) > 0 and all(value >= 1 for value in values)
    require(name, values, "a list of integers >= 1, not empty", ok)


def require_image(input_shape: tuple[int, ...]) -> None:
    """Refuse inputs that a convolution cannot read.

    Raises:
        ValueError: `input_shape` is not (C, H, W).
    """
    ok = len(input_shape) == 3
    require("input_shape", input_shape, "(C, H, W); an MLP takes any other shape", ok)


def require_tokens(
    input_shape: tuple[int, ...], vocabulary_size: int | None, longest: int | None = None
) -> int:
    """Refuse inputs that are no rows of token ids, or longer than a network's positions.

    Returns:
        The size of the vocabulary.

    Raises:
        ValueError: `input_shape` is not (L,), or there is no vocabulary.
    """
    if vocabulary_size is None or len(input_shape) != 1:
        raise ValueError(
            f"input_shape: must be (L,) of token ids, got numbers {input_shape}. Take data of "
            "them, e.g. fake_text."
        )
    fits = longest is None or input_shape[0] <= longest
    require("input_shape", input_shape, f"at most {longest} token ids", fits)
    return vocabulary_size


def require_dropout(name: str, value: float) -> None:
    """Refuse a probability that no unit, or a negative share of them, would survive.

    Raises:
        ValueError: `value` is outside [0, 1).
    """
    require(name, value, "in [0, 1)", 0 <= value < 1)
