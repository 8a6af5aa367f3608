from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from distill_lab.data.histories import Histories
from distill_lab.measure.ranking import gains, places, ranking

NOTHING = torch.zeros(0, 2, dtype=torch.int64)


def had(*items, user=0):
    return torch.tensor([[user, item] for item in items])


def one(place, num_items=20, past=NOTHING):
    """One user whose next item, number 4, stands at a place; others follow by number."""
    others = [item for item in range(num_items) if item != 4]
    order = [*others[: place - 1], 4, *others[place - 1 :]]
    logits = torch.empty(1, num_items)
    logits[0, order] = torch.arange(num_items, 0, -1).float()
    return ranking(logits, torch.tensor([4]), past)


@pytest.mark.parametrize(("place", "hit"), [(1, 1), (3, 1), (10, 1), (11, 0), (20, 0)])
def test_an_item_is_hit_among_the_first_ten_and_gains_by_its_place(place, hit):
    found = one(place)
    assert found.hr10 == hit
    assert found.ndcg10 == pytest.approx(hit / math.log2(1 + place))


def test_items_of_the_past_make_room():
    past = had(0, 1)
    assert one(11, past=past).hr10 == 1.0
    assert one(12, past=past).ndcg10 == pytest.approx(1 / math.log2(11))
    assert one(13, past=past).hr10 == 0.0


def test_the_next_item_may_be_one_of_the_past():
    assert one(2, past=had(4, 0)).ndcg10 == 1.0


def test_what_another_user_had_stays():
    logits = torch.tensor([[2.0, 3.0, 1.0]]).repeat(2, 1)
    found = ranking(logits, torch.tensor([0, 0]), had(1, user=1))
    assert found.ndcg10 == pytest.approx((1 / math.log2(3) + 1) / 2)


def test_what_a_row_is_too_short_for_is_left_out_too():
    # A row of one film, the latest of three: the network likes the older two best.
    users, films = np.zeros(5, int), np.array([3, 2, 0, 1, 4])
    _, _, test = Histories(1, None).splits(users, films, np.arange(5))
    assert test.inputs.tolist() == [[2]]
    logits = torch.tensor([[1.0, 0.0, 8.0, 9.0, 5.0]])
    assert ranking(logits, test.targets, test.had).ndcg10 == 1.0


def test_of_equal_logits_the_other_item_is_the_higher():
    found = ranking(torch.zeros(1, 20), torch.tensor([4]), NOTHING)
    assert found.hr10 == 0.0


def test_users_are_divided_by_how_popular_their_next_item_is():
    many, few = [had(0, 6, 8, 9, user=user) for user in range(5)], [had(15, user=3)]
    past = torch.cat([*many, *few])  # 0, 6, 8 and 9 are the fifth of twenty items
    targets = torch.tensor([0, 6, 1, 7, 11])
    logits = torch.zeros(5, 20)
    logits[0, 0] = logits[2, 1] = 1.0  # found: a popular one, another one
    found = ranking(logits, targets, past)
    assert found.hr10_popular == 1 / 2
    assert found.hr10_unpopular == 1 / 3
    nobody = ranking(logits[:1], targets[:1], many[0])
    assert nobody.hr10_unpopular is None


def test_coverage_is_the_share_of_items_that_anyone_is_shown():
    assert one(1, num_items=40).coverage10 == 10 / 40
    logits = torch.zeros(2, 40)
    logits[0, :10] = logits[1, 5:15] = 1.0
    both = ranking(logits, torch.tensor([0, 0]), NOTHING)
    assert both.coverage10 == 15 / 40
    few = ranking(torch.zeros(1, 4), torch.tensor([0]), had(1, 2))
    assert few.coverage10 == 2 / 4  # two are of the past


@pytest.mark.parametrize(
    ("logits", "targets", "past"),
    [
        ((2, 5), (3,), (1, 2)),
        ((2, 5), (2,), (1, 3)),
        ((2, 5), (2,), (2,)),
        ((0, 5), (0,), (0, 2)),
    ],
)
def test_shapes_that_do_not_fit_are_named(logits, targets, past):
    with pytest.raises(ValueError, match="logits, targets, had: must be"):
        ranking(torch.zeros(logits), torch.zeros(targets).long(), torch.zeros(past).long())


def test_what_each_user_adds_to_the_gain_is_by_the_place_of_the_next_item():
    logits = torch.arange(12.0).flip(0).repeat(3, 1)  # item 0 is the first for all
    targets, had = torch.tensor([0, 3, 11]), torch.tensor([[1, 0]])
    place = places(logits, targets, had)
    assert place.tolist() == [1, 3, 12]  # the second user had item 0
    assert gains(place).tolist() == pytest.approx([1.0, 1 / math.log2(4), 0.0])
