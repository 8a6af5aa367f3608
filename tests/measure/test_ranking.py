from __future__ import annotations

import math

import pytest
import torch

from distill_lab.measure.ranking import ranking

NOTHING = torch.zeros(1, 3, dtype=torch.int64)


def one(place, num_items=20, past=NOTHING, counts=None):
    """One user whose next item, number 4, stands at a place; others follow by number."""
    others = [item for item in range(num_items) if item != 4]
    order = [*others[: place - 1], 4, *others[place - 1 :]]
    logits = torch.empty(1, num_items)
    logits[0, order] = torch.arange(num_items, 0, -1).float()
    counts = torch.arange(num_items, 0, -1) if counts is None else counts
    return ranking(logits, torch.tensor([4]), past, counts)


@pytest.mark.parametrize(("place", "hit"), [(1, 1), (3, 1), (10, 1), (11, 0), (20, 0)])
def test_an_item_is_hit_among_the_first_ten_and_gains_by_its_place(place, hit):
    found = one(place)
    assert found.hr10 == hit
    assert found.ndcg10 == pytest.approx(hit / math.log2(1 + place))


def test_items_of_the_past_make_room():
    past = torch.tensor([[1, 2, 0]])  # items 0 and 1
    assert one(11, past=past).hr10 == 1.0
    assert one(12, past=past).ndcg10 == pytest.approx(1 / math.log2(11))
    assert one(13, past=past).hr10 == 0.0


def test_the_next_item_may_be_one_of_the_past():
    assert one(2, past=torch.tensor([[5, 1, 0]])).ndcg10 == 1.0


def test_of_equal_logits_the_other_item_is_the_higher():
    counts = torch.ones(20)
    found = ranking(torch.zeros(1, 20), torch.tensor([4]), NOTHING, counts)
    assert found.hr10 == 0.0


def test_users_are_divided_by_how_popular_their_next_item_is():
    counts = torch.zeros(20)
    counts[[0, 6, 8, 9]] = torch.tensor([9.0, 8.0, 7.0, 6.0])  # the fifth of twenty items
    targets = torch.tensor([0, 6, 1, 7, 11])
    logits = torch.zeros(5, 20)
    logits[0, 0] = logits[2, 1] = 1.0  # found: a popular one, another one
    past = torch.zeros(5, 1, dtype=torch.int64)
    found = ranking(logits, targets, past, counts)
    assert found.hr10_popular == 1 / 2
    assert found.hr10_unpopular == 1 / 3
    nobody = ranking(logits[:1], targets[:1], past[:1], counts)
    assert nobody.hr10_unpopular is None


def test_coverage_is_the_share_of_items_that_anyone_is_shown():
    assert one(1, num_items=40).coverage10 == 10 / 40
    logits = torch.zeros(2, 40)
    logits[0, :10] = logits[1, 5:15] = 1.0
    both = ranking(logits, torch.tensor([0, 0]), torch.zeros(2, 1).long(), torch.ones(40))
    assert both.coverage10 == 15 / 40
    few = ranking(torch.zeros(1, 4), torch.tensor([0]), torch.tensor([[2, 3]]), torch.ones(4))
    assert few.coverage10 == 2 / 4  # two are of the past


@pytest.mark.parametrize(
    ("logits", "targets", "past", "counts"),
    [
        ((2, 5), (3,), (2, 1), 5),
        ((2, 5), (2,), (3, 1), 5),
        ((2, 5), (2,), (2, 1), 4),
        ((0, 5), (0,), (0, 1), 5),
    ],
)
def test_shapes_that_do_not_fit_are_named(logits, targets, past, counts):
    with pytest.raises(ValueError, match="logits, targets, past, counts: must be"):
        ranking(
            torch.zeros(logits),
            torch.zeros(targets).long(),
            torch.zeros(past).long(),
            torch.ones(counts),
        )
