from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from distill_lab.losses.rrd import RRD, rrd


def likelihood(scores, order):
    """Of drawing all items in an order, each by the softmax of what is left."""
    left, value = list(order), 1.0
    for item in order:
        value *= math.exp(scores[item]) / sum(math.exp(scores[other]) for other in left)
        left.remove(item)
    return value


def connected(num_ranked, num_uninteresting):
    loss = RRD(1.0, num_ranked, num_uninteresting)
    torch.manual_seed(4)
    loss.connect({}, ({},), 10)
    return loss


def test_value_of_two_items_above_one_by_hand():
    # Scores ln 2 and ln 1 above ln 3: 2 / (2 + 1 + 3) times 1 / (1 + 3).
    ranked, other = torch.tensor([[math.log(2.0), 0.0]]), torch.tensor([[math.log(3.0)]])
    assert float(rrd(ranked, other)) == pytest.approx(math.log(12), rel=1e-5)


def test_likelihood_is_the_sum_over_all_orders_of_the_items_below():
    scores = np.random.default_rng(0).normal(size=5)
    orders = [(2, 0, *below) for below in itertools.permutations((1, 3, 4))]
    expected = sum(likelihood(scores, order) for order in orders)
    ranked, others = torch.tensor(scores[[2, 0]])[None], torch.tensor(scores[[1, 3, 4]])[None]
    assert float(rrd(ranked, others)) == pytest.approx(-math.log(expected), rel=1e-9)


def test_the_order_of_the_items_below_does_not_matter_and_that_of_the_top_does():
    ranked, others = torch.randn(6, 4), torch.randn(6, 3)
    value = rrd(ranked, others)
    torch.testing.assert_close(rrd(ranked, others.flip(1)), value)
    assert abs(float(rrd(ranked.flip(1), others) - value)) > 0.1


def test_a_constant_added_to_all_scores_of_a_sample_does_not_matter():
    ranked, others = torch.randn(6, 4), torch.randn(6, 3)
    torch.testing.assert_close(rrd(ranked + 5, others + 5), rrd(ranked, others))


def test_scores_whose_exponential_overflows_have_a_finite_value_and_gradient():
    ranked = torch.tensor([[-1e3, 1e3]], requires_grad=True)
    value = rrd(ranked, torch.tensor([[2e3]]))
    value.backward()
    assert float(value.detach()) == pytest.approx(4e3)
    torch.testing.assert_close(ranked.grad, torch.tensor([[-1.0, -1.0]]))


def test_one_item_above_none_is_certain():
    ranked = torch.randn(3, 1, requires_grad=True)
    value = rrd(ranked, torch.zeros(3, 0))
    value.backward()
    assert float(value.detach()) == 0.0
    torch.testing.assert_close(ranked.grad, torch.zeros(3, 1), rtol=0, atol=1e-6)


def test_term_ranks_the_teachers_top_items_without_the_own_above_all_others(batch_of):
    student, teacher = torch.randn(1, 5), torch.tensor([[9.0, 1.0, 3.0, 2.0, 4.0]])
    value = connected(2, 10)(batch_of(student, teacher, targets=torch.tensor([0])))
    expected = rrd(student[:, [4, 2]], student[:, [1, 3]])
    torch.testing.assert_close(value, expected)


def test_more_top_items_than_there_are_rank_all_of_them(batch_of):
    student, teacher = torch.randn(2, 6, 5).unbind()
    batch = batch_of(student, teacher)
    torch.testing.assert_close(connected(99, 3)(batch), connected(4, 0)(batch))


def test_a_step_is_repeatable_and_another_draws_other_items(batch_of):
    student, teacher = torch.randn(2, 6, 50).unbind()
    loss, batch = connected(3, 4), batch_of(student, teacher)
    assert float(loss(batch)) == float(connected(3, 4)(batch))
    assert float(loss(batch)) != float(loss(replace(batch, epoch=0.5)))


def test_the_mean_over_draws_covers_every_item_below(batch_of):
    student = torch.zeros(2, 8, requires_grad=True)
    teacher = torch.arange(8.0).flip(0).repeat(2, 1)
    loss, batch = connected(2, 1), batch_of(student, teacher, targets=torch.tensor([0, 0]))
    total = sum(loss(replace(batch, epoch=step / 64)) for step in range(64))
    total.backward()
    reached = student.grad[0]
    assert float(reached[0]) == 0.0
    assert bool((reached[1:3] < 0).all())
    assert bool((reached[3:] > 0).all())


def test_several_teachers_count_by_their_mean(batch_of):
    student, first, second = torch.randn(3, 6, 12).unbind()
    loss = connected(4, 3)
    expected = (loss(batch_of(student, first)) + loss(batch_of(student, second))) / 2
    torch.testing.assert_close(loss(batch_of(student, first, second)), expected)


@pytest.mark.parametrize("shapes", [((4, 3), (3, 5)), ((4,), (4, 5))])
def test_scores_must_be_of_the_same_samples(shapes):
    with pytest.raises(ValueError, match=r"rrd: ranked scores are .*\(B, n\) and \(B, m\)"):
        rrd(*map(torch.zeros, shapes))


def test_numbers_out_of_range_are_refused():
    with pytest.raises(ValueError, match="num_ranked: must be >= 1, got 0"):
        RRD(1.0, 0, 5)
    with pytest.raises(ValueError, match="num_uninteresting: must be >= 0, got -1"):
        RRD(1.0, 5, -1)


def test_shapes_must_agree(batch_of):
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(2, 4\).*same items"):
        connected(2, 2)(batch_of(torch.zeros(2, 3), torch.zeros(2, 4)))
