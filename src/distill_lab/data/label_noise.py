"""Wrong labels on purpose: a share of the training labels, the same ones every time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from distill_lab.data.counter import Stream, permutation, uniform


def with_label_noise(
    targets: Tensor, fraction: float, num_classes: int, seed: int, leave_out_classes: Sequence[int]
) -> Tensor:
    """Replace a share of the labels by another class, each other class being as likely.

    This is symmetric noise as in Patrini et al. 2017, arXiv:1609.03683, but for the
    number of labels, which is the same for every seed. A larger share replaces the same labels by
    the same classes, and further ones. Labels of classes that are left out stay, and none of the
    others becomes one of these.

    Args:
        targets: (N,) int64 class indices of the whole training split.
        fraction: in [0, 1], of the labels of classes that are not left out.
        num_classes: K.
        seed: decides which labels, and which classes take their place.
        leave_out_classes: that are not trained on.

    Returns:
        (N,) int64; the labels themselves where nothing is replaced.

    Raises:
        ValueError: something is to be replaced, and fewer than two classes are trained on.
    """
    if fraction == 0:
        return targets
    used = [number for number in range(num_classes) if number not in set(leave_out_classes)]
    if len(used) < 2:
        raise ValueError(
            f"label_noise: must be 0 where fewer than two classes are trained on, got {fraction}."
        )
    place = torch.full((num_classes,), -1)
    place[used] = torch.arange(len(used))
    order = permutation(len(targets), seed, 0, Stream.LABEL_NOISE)
    order = order[place[targets[order]] >= 0]
    chosen = order[: round(fraction * len(order))]
    drawn = uniform(seed, chosen, 0, Stream.OTHER_LABEL)
    step = 1 + (drawn * (len(used) - 1)).long()  # to any but the class itself
    noisy = targets.clone()
    noisy[chosen] = torch.tensor(used)[(place[targets[chosen]] + step) % len(used)]
    return noisy
