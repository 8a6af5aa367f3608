"""Random numbers as a pure function of what they are for: the order of calls does not matter."""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15
"""By which the state of SplitMix64 grows from one number to the next."""


class Stream(IntEnum):
    """What a number is drawn for; two streams of one sample are independent."""

    SHIFT_DOWN = 0
    SHIFT_RIGHT = 1
    FLIP = 2
    SHUFFLE = 3
    SPLIT = 4
    MIX_BATCH = 5
    MIX_PARTNER = 6
    CUTOUT_ROW = 7
    CUTOUT_COLUMN = 8
    CROP = 9
    SUBSET = 10
    NGRAM = 11
    MASK_WORD = 12
    LABEL_NOISE = 13
    OTHER_LABEL = 14


def uniform(seed: int, index: Tensor, view: Tensor | int, stream: int) -> Tensor:
    """Uniform numbers, one per sample, whatever batch the sample stands in.

    Args:
        seed: any integer; taken modulo 2^64.
        index: (B,) int64, number of each sample.
        view: (B,) int64 or one integer, number of the augmentation.
        stream: what the number is for, see `Stream`.

    Returns:
        (B,) float32 in [0, 1), multiples of 2^-24.
    """
    return _unit(bits(seed, index, view, stream))


def uniforms(seed: int, index: Tensor, view: Tensor | int, stream: int, count: int) -> Tensor:
    """Several uniform numbers per sample: what SplitMix64 gives from the sample's own bits on.

    Args:
        seed: any integer; taken modulo 2^64.
        index: (B,) int64, number of each sample.
        view: (B,) int64 or one integer, number of the augmentation.
        stream: what the numbers are for, see `Stream`.
        count: >= 1, numbers per sample.

    Returns:
        (B, count) float32 in [0, 1), multiples of 2^-24.
    """
    steps = torch.arange(count, device=index.device) * _signed(GOLDEN)
    return _unit(splitmix64(bits(seed, index, view, stream)[:, None] + steps))


def permutation(length: int, seed: int, view: int, stream: int) -> Tensor:
    """A random order of `length` samples: (N,) int64, the same on every device and version."""
    return bits(seed, torch.arange(length), view, stream).argsort(stable=True)


def bits(seed: int, index: Tensor, view: Tensor | int, stream: int) -> Tensor:
    """64 random bits per sample: `splitmix64` chained over the four counters.

    Returns:
        (B,) int64, uniform over all 64 bits, sign included.
    """
    key = splitmix64(splitmix64(index.new_tensor(_signed(seed))) + stream)
    return splitmix64(splitmix64(key + view) + index)


def splitmix64(state: Tensor) -> Tensor:
    """The first output of the generator SplitMix64 that starts in `state`.

    Source: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", OOPSLA.

    Args:
        state: int64 of any shape; sums and products wrap modulo 2^64.
    """
    mixed = state + _signed(GOLDEN)
    mixed = (mixed ^ _shift_right(mixed, 30)) * _signed(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ _shift_right(mixed, 27)) * _signed(0x94D049BB133111EB)
    return mixed ^ _shift_right(mixed, 31)


def _unit(random_bits: Tensor) -> Tensor:
    return _shift_right(random_bits, 40).float() * 2.0**-24


def _shift_right(value: Tensor, places: int) -> Tensor:
    # torch shifts int64 arithmetically: clear the copies of the sign bit.
    return (value >> places) & ((1 << (64 - places)) - 1)


def _signed(number: int) -> int:
    return (number + 2**63) % 2**64 - 2**63
