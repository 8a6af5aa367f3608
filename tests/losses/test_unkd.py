from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from distill_lab.contracts import DistillBatch, Output
from distill_lab.losses.unkd import UnKD, popularity_groups, rank_pairs, unkd


def connected(num_groups=2, pairs_per_group=4, decay=2.0, num_samples=100):
    loss = UnKD(1.0, num_groups, pairs_per_group, decay)
    torch.manual_seed(4)
    loss.connect({}, ({},), num_samples)
    return loss


def learned(loss, items, num_items):
    """The term after an epoch over samples with these items."""
    batch = batch_with(torch.zeros(len(items), num_items), items)
    student = replace(batch.student, logits=batch.student.logits.requires_grad_())
    loss(replace(batch, student=student))
    return loss


def batch_with(student, items, teacher=None):
    said = Output(student if teacher is None else teacher)
    targets = torch.tensor(items)
    return DistillBatch(Output(student), (said,), targets, torch.arange(len(items)), 1.0, 1.5, 4)


def draws():
    return torch.Generator().manual_seed(0)


def test_value_of_two_samples_by_hand():
    # Differences ln 3 and 0 have sigmoids 3/4 and 1/2; of the second sample one pair counts.
    higher = torch.tensor([[math.log(3.0), 1.0], [0.0, -9.0]])
    lower = torch.tensor([[0.0, 1.0], [math.log(3.0), 9.0]])
    counts = torch.tensor([[True, True], [True, False]])
    by_hand = (-(math.log(3 / 4) + math.log(1 / 2)) / 2 - math.log(1 / 4)) / 2
    assert float(unkd(higher, lower, counts)) == pytest.approx(by_hand, rel=1e-5)


def test_agrees_with_the_logarithm_of_a_logistic_function():
    higher, lower = np.random.default_rng(0).normal(size=(2, 5, 7))
    expected = -np.log(1 / (1 + np.exp(lower - higher))).mean()
    value = unkd(torch.tensor(higher), torch.tensor(lower), torch.ones(5, 7, dtype=torch.bool))
    assert float(value) == pytest.approx(expected, rel=1e-9)


def test_a_constant_added_to_all_scores_of_a_sample_does_not_matter():
    higher, lower = torch.randn(2, 6, 4).unbind()
    every = torch.ones(6, 4, dtype=torch.bool)
    torch.testing.assert_close(unkd(higher + 5, lower + 5, every), unkd(higher, lower, every))


def test_a_sample_without_pairs_has_a_value_and_a_gradient_of_zero():
    student = torch.randn(2, 3, requires_grad=True)
    unkd(student, -student, torch.zeros(2, 3, dtype=torch.bool)).backward()
    assert student.grad.tolist() == [[0.0] * 3] * 2


def test_groups_of_items_are_had_equally_often():
    # Counts 6, 3, 3, 2, 2, 2 add up to 18; thirds of 6.
    counts = torch.tensor([3, 2, 6, 2, 3, 2])
    assert popularity_groups(counts, 3).tolist() == [1, 2, 0, 2, 1, 2]


def test_a_share_is_missed_by_half_an_item_at_each_end_at_most():
    counts = torch.tensor(np.random.default_rng(0).zipf(1.5, size=500).clip(max=60))
    groups = popularity_groups(counts, 4)
    for group in range(4):
        inside = counts[groups == group]
        assert abs(float(inside.sum() - counts.sum() / 4)) <= inside.max()
    popular = [counts[groups == group].min() for group in range(3)]
    others = [counts[groups == group].max() for group in range(1, 4)]
    assert all(a >= b for a, b in zip(popular, others, strict=True))


def test_items_that_nobody_had_are_in_the_last_group():
    assert popularity_groups(torch.tensor([0, 5, 0, 5]), 2).tolist() == [1, 0, 1, 1]
    assert popularity_groups(torch.zeros(3, dtype=torch.long), 2).tolist() == [0, 0, 0]


def test_ranks_are_drawn_as_if_both_by_themselves_and_again_where_they_are_the_same():
    size, decay, num_pairs = 5, 2.0, 40_000
    single = np.exp(-np.arange(size) / decay)
    both = np.triu(np.outer(single, single), 1)
    drawn = rank_pairs(size, num_pairs, decay, draws()).numpy()
    found = np.zeros((size, size))
    np.add.at(found, tuple(drawn), 1 / num_pairs)
    assert np.abs(found - both / both.sum()).max() < 0.01


@pytest.mark.parametrize("decay", [1e-3, 1e6])
@pytest.mark.parametrize("size", [2, 3000])
def test_ranks_of_a_pair_differ_at_any_decay(size, decay):
    higher, lower = rank_pairs(size, 500, decay, draws())
    assert bool(((higher >= 0) & (higher < lower) & (lower < size)).all())
    assert ({*higher.tolist()}, {*lower.tolist()}) == ({0}, {1}) or decay > 1


def test_pairs_are_of_one_group_and_in_the_teachers_order():
    # Items 0 and 1 are as popular as 2 to 5 together; the teacher has 1 above 0 and 5 above all.
    items = [0] * 4 + [1] * 4 + [2, 2, 3, 3, 4, 4, 5, 5]
    loss = learned(connected(), items, 7)
    teacher = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0]])
    student = torch.zeros(1, 7, requires_grad=True)
    loss.eval()(batch_with(student, [6], teacher)).backward()
    popular, others = student.grad[0, :2], student.grad[0, 2:6]
    assert popular[1] < 0 < popular[0]
    assert float(popular.sum()) == pytest.approx(0.0, abs=1e-6)
    assert float(others.sum()) == pytest.approx(0.0, abs=1e-6)
    assert others[3] < 0
    assert float(student.grad[0, 6]) == 0.0  # the own item


def test_popularity_does_not_depend_on_how_often_a_sample_was_seen():
    items = [0, 0, 0, 1, 1, 2, 3, 4]
    once, often = learned(connected(), items, 5), connected()
    for _ in range(3):
        learned(often, items, 5)
        learned(often, items[:2], 5)
    assert once.labels.tolist() == often.labels.tolist()


def test_only_what_is_trained_on_is_remembered():
    loss = connected()
    loss(batch_with(torch.zeros(2, 5), [0, 1]))
    learned(loss.eval(), [0, 1], 5)
    assert bool((loss.labels == -1).all())


def test_a_step_is_repeatable_and_another_draws_other_pairs(batch_of):
    student, teacher = torch.randn(2, 6, 50).unbind()
    loss, batch = connected(), batch_of(student, teacher)
    assert float(loss(batch)) == float(connected()(batch))
    assert float(loss(batch)) != float(loss(replace(batch, epoch=0.5)))


def test_the_own_item_takes_no_part():
    student, teacher, items = torch.randn(6, 12), torch.randn(6, 12), [0, 1, 2, 3, 4, 5]
    own = torch.nn.functional.one_hot(torch.tensor(items), 12)
    loss = learned(connected(), items, 12).eval()
    value = loss(batch_with(student, items, teacher))
    moved = loss(batch_with(student + 50 * own, items, teacher - 50 * own))
    torch.testing.assert_close(moved, value)


def test_a_single_item_has_no_pairs_and_a_gradient_of_zero():
    student = torch.ones(3, 1, requires_grad=True)
    connected()(batch_with(student, [0, 0, 0])).backward()
    assert student.grad.tolist() == [[0.0]] * 3


def test_several_teachers_count_by_their_mean(batch_of):
    student, first, second = torch.randn(3, 6, 12).unbind()
    loss = connected()
    expected = (loss(batch_of(student, first)) + loss(batch_of(student, second))) / 2
    torch.testing.assert_close(loss(batch_of(student, first, second)), expected)


@pytest.mark.parametrize(
    ("name", "value"), [("num_groups", 0), ("pairs_per_group", 0), ("decay", 0.0)]
)
def test_numbers_out_of_range_are_refused(name, value):
    numbers = {"num_groups": 4, "pairs_per_group": 8, "decay": 20.0}
    with pytest.raises(ValueError, match=f"{name}: must be .*, got {value}"):
        UnKD(1.0, **(numbers | {name: value}))


def test_shapes_must_agree(batch_of):
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(2, 4\).*same items"):
        connected()(batch_of(torch.zeros(2, 3), torch.zeros(2, 4)))
    with pytest.raises(
        ValueError, match=r"unkd: higher scores are \(2, 3\), lower scores \(2, 4\)"
    ):
        unkd(torch.zeros(2, 3), torch.zeros(2, 4), torch.ones(2, 3, dtype=torch.bool))
