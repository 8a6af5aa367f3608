"""What a student says of classes that it was not trained on, and how far a bias mends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Biased:
    """Errors on one split with `bias` added to the logits of the classes that were left out.

    Attributes:
        bias: 0 for the network as it is.
        errors: samples whose largest logit is not the target's.
        errors_on: those among them whose target is of a class that was left out.
    """

    bias: float
    errors: int
    errors_on: int


@dataclass(frozen=True)
class LeftOut:
    """The test split under three biases.

    Attributes:
        num_samples: of the test split that are of the classes that were left out.
        plain: without a bias.
        chosen: under the bias that has the fewest errors on the validation split.
        test_tuned: under the one that has the fewest errors on the test split: what a paper gives
            that chose it there, and no estimate of what the network is worth.
    """

    num_samples: int
    plain: Biased
    chosen: Biased
    test_tuned: Biased


def left_out_scores(
    validation: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], classes: Sequence[int]
) -> LeftOut:
    """Mend the logits of classes that were left out by one common bias.

    Source: Hinton et al. 2015, arXiv:1503.02531, section 3: a network that is taught without an
    example of a class knows it, but expects it too seldom.

    Args:
        validation: logits (N, K), finite, and targets (N,).
        test: likewise, of other samples.
        classes: that were left out; neither none nor all.

    Raises:
        ValueError: no class is left out, or all are.
    """
    logits, targets = test
    biases = (0.0, best_bias(*validation, classes), best_bias(*test, classes))
    here = torch.isin(targets, torch.tensor(list(classes)))
    found = []
    for bias in biases:
        raised = logits.detach().double().clone()
        raised[:, list(classes)] += bias
        wrong = raised.argmax(dim=1) != targets
        found.append(Biased(bias, int(wrong.sum()), int((wrong & here).sum())))
    return LeftOut(int(here.sum()), *found)


def best_bias(logits: Tensor, targets: Tensor, classes: Sequence[int]) -> float:
    """Return what to add to the logits of `classes` for the fewest errors; the nearest to 0.

    One bias of each interval is looked at between whose ends no sample goes over to another class.

    Args:
        logits: (N, K), finite; computed in float64.
        targets: (N,) class indices.
        classes: neither none nor all of them.

    Raises:
        ValueError: there are no samples, or `classes` are none or all.
    """
    given = torch.zeros(logits.shape[1], dtype=torch.bool)
    given[list(classes)] = True
    if not len(targets) or not given.any() or given.all():
        raise ValueError(
            f"classes: must be some of {logits.shape[1]} and not all, got {list(classes)} "
            f"with {len(targets)} samples."
        )
    logits = logits.detach().double()
    others = logits.masked_fill(given, -torch.inf).max(dim=1)
    those = logits.masked_fill(~given, -torch.inf).max(dim=1)
    lead = others.values - those.values  # a larger bias turns the sample over to `classes`
    edges = lead.unique()
    between = [edges[:1] - 1, (edges[1:] + edges[:-1]) / 2, edges[-1:] + 1]
    tried = torch.cat([torch.zeros(1, dtype=torch.double), *between])
    kept = lead[others.indices == targets].sort().values
    gained = lead[those.indices == targets].sort().values
    right = len(kept) - torch.searchsorted(kept, tried, right=True)
    right += torch.searchsorted(gained, tried)
    best = tried[right == right.max()]
    return float(best[best.abs().argmin()])
