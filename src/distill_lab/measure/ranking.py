"""How high the next item of a user stands among all items."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

DEPTH = 10  # places that a user looks at
POPULAR_SHARE = 0.2  # of the items; those that were had most often


@dataclass(frozen=True)
class Ranking:
    """Scores of one network on one split, over all items but those that the user had before.

    With one item to be found, the recall at 10 is the hit rate, and the ideal DCG is 1.

    Attributes:
        hr10: share of the users whose next item is among the first 10; higher is better.
        ndcg10: mean of 1 / log2(1 + place), 0 below the 10th; higher is better.
        coverage10: share of all items that are among the first 10 of any user.
        hr10_popular: `hr10` of the users whose next item is one of the fifth that most users had
            before; None where there is none.
        hr10_unpopular: of the other users.
    """

    hr10: float
    ndcg10: float
    coverage10: float
    hr10_popular: float | None
    hr10_unpopular: float | None


def ranking(logits: Tensor, targets: Tensor, had: Tensor) -> Ranking:
    """Rank all K items for each of N users.

    Nothing is sampled: ranks among sampled items do not even order methods rightly (Krichene and
    Rendle 2020, "On sampled metrics for item recommendation", KDD). Of equal logits the other item
    counts as the higher. What a user had before is left out, however long ago, but for the next
    item itself.

    Args:
        logits: (N, K), finite.
        targets: (N,) the next item.
        had: (M, 2) the number of a user and an item that the user had before, both from 0 on, each
            pair once.

    Raises:
        ValueError: the shapes do not fit, or there are no users.
    """
    _check(logits, targets, had)
    num_items = logits.shape[1]
    scores = _without_past(logits, targets, had)
    place = _places(scores, targets)
    hit = (place <= DEPTH).double()
    shown = scores.topk(min(DEPTH, num_items), dim=1)
    seen = shown.indices[shown.values > -torch.inf].unique()
    counts = had[:, 1].bincount(minlength=num_items)
    popular = torch.zeros(num_items, dtype=torch.bool)
    popular[counts.argsort(descending=True, stable=True)[: round(POPULAR_SHARE * num_items)]] = True
    return Ranking(
        hr10=hit.mean().item(),
        ndcg10=gains(place).mean().item(),
        coverage10=len(seen) / num_items,
        hr10_popular=_mean(hit[popular[targets]]),
        hr10_unpopular=_mean(hit[~popular[targets]]),
    )


def places(logits: Tensor, targets: Tensor, had: Tensor) -> Tensor:
    """Return the place (N,) of the next item of each user, 1 being the first; see `ranking`.

    Raises:
        ValueError: the shapes do not fit, or there are no users.
    """
    _check(logits, targets, had)
    return _places(_without_past(logits, targets, had), targets)


def gains(place: Tensor) -> Tensor:
    """Return what each user adds to NDCG@10, (N,) float64 in [0, 1], of places (N,)."""
    return (place <= DEPTH).double() / torch.log2(1 + place.double())


def _check(logits: Tensor, targets: Tensor, had: Tensor) -> None:
    fits = logits.ndim == 2 and targets.shape == logits.shape[:1] and had.shape[1:] == (2,)
    if not fits or not len(targets):
        raise ValueError(
            "logits, targets, had: must be (N, K), (N,) and (M, 2) with N >= 1, got "
            f"{tuple(logits.shape)}, {tuple(targets.shape)} and {tuple(had.shape)}."
        )


def _places(scores: Tensor, targets: Tensor) -> Tensor:
    return (scores >= scores.gather(1, targets[:, None])).sum(1)  # the item itself: 1 at best


def _without_past(logits: Tensor, targets: Tensor, had: Tensor) -> Tensor:
    left_out = torch.zeros_like(logits, dtype=torch.bool)
    left_out[had[:, 0], had[:, 1]] = True
    return logits.masked_fill(left_out.scatter(1, targets[:, None], value=False), -torch.inf)


def _mean(values: Tensor) -> float | None:
    return values.mean().item() if len(values) else None
