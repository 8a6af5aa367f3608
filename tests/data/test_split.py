from __future__ import annotations

import pytest
import torch

from distill_lab.data.split import stratified

TARGETS = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)


def test_every_part_holds_the_classes_in_proportion():
    for seed in range(20):
        parts = stratified(TARGETS, (20, 30), seed)
        counts = [TARGETS[part].bincount(minlength=3) for part in parts]
        for found, expected in zip(counts, [[12, 6, 2], [18, 9, 3], [30, 15, 5]], strict=True):
            assert (found - torch.tensor(expected)).abs().max() < 2


def test_parts_are_disjoint_ascending_and_complete():
    parts = stratified(TARGETS, (20, 30), 0)
    assert [len(part) for part in parts] == [20, 30, 50]
    assert torch.cat(parts).sort().values.tolist() == list(range(100))
    assert all(bool((part.diff() > 0).all()) for part in parts)


def test_the_seed_decides():
    first = stratified(TARGETS, (20,), 0)
    assert all(torch.equal(a, b) for a, b in zip(first, stratified(TARGETS, (20,), 0), strict=True))
    assert not torch.equal(first[0], stratified(TARGETS, (20,), 1)[0])


def test_every_sample_is_held_out_by_some_seed_and_not_by_all():
    times = torch.zeros(100)
    for seed in range(100):
        times[stratified(TARGETS, (50,), seed)[0]] += 1
    # Half of 100 draws, +- five times sqrt(100 / 4).
    assert (times - 50).abs().max() < 25


@pytest.mark.parametrize("sizes", [(0,), (100,), (101,), (50, 50), (50, -1)])
def test_an_empty_part_is_refused(sizes):
    with pytest.raises(ValueError, match="sizes: each must be >= 1 and their sum < 100"):
        stratified(TARGETS, sizes, 0)
