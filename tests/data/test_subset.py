from __future__ import annotations

import pytest
import torch

from distill_lab.data.subset import subset

TARGETS = torch.tensor([0, 1, 2, 1, 0, 2, 0, 1])


def test_without_a_wish_all_samples_are_there():
    assert subset(TARGETS, [], None, 0).tolist() == list(range(8))


def test_the_others_of_a_class_that_is_left_out_keep_their_numbers():
    assert subset(TARGETS, [1], None, 0).tolist() == [0, 2, 4, 5, 6]
    assert subset(TARGETS, [2, 0], None, 0).tolist() == [1, 3, 7]


def test_the_seed_decides_which_are_drawn_out_of_the_rest():
    drawn = [tuple(subset(TARGETS, [1], 3, seed).tolist()) for seed in range(50)]
    assert drawn == [tuple(subset(TARGETS, [1], 3, seed).tolist()) for seed in range(50)]
    assert {len(set(numbers)) for numbers in drawn} == {3}
    assert all(list(numbers) == sorted(numbers) for numbers in drawn)
    assert set().union(*drawn) == {0, 2, 4, 5, 6}


@pytest.mark.parametrize(("left_out", "count"), [([], 9), ([1], 6), ([0, 1, 2], None), ([], 1)])
def test_too_few_samples_are_refused(left_out, count):
    with pytest.raises(ValueError, match=r"^num_samples: must be in \[2, \d\]"):
        subset(TARGETS, left_out, count, 0)
