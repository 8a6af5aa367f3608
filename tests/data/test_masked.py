from __future__ import annotations

import torch

from distill_lab.data.masked import masked


def drawn(ids, seed=0):
    return masked(ids, 99, torch.Generator().manual_seed(seed))


def test_one_word_of_each_row_is_masked_and_is_its_class():
    ids = torch.tensor([[5, 6, 7, 0, 0], [8, 0, 0, 0, 0], [1, 2, 3, 4, 5]])
    inputs, targets, _ = drawn(ids)
    assert (inputs == 99).sum(dim=1).tolist() == [1, 1, 1]
    assert torch.equal(torch.where(inputs == 99, targets[:, None], inputs), ids)
    assert targets[1] == 8
    assert 99 not in ids


def test_every_word_is_masked_as_often_and_padding_never():
    _, targets, _ = drawn(torch.tensor([[1, 2, 3, 0, 0, 0]]).expand(3000, -1))
    counts = targets.bincount(minlength=4).tolist()
    assert counts[0] == 0
    assert all(900 < count < 1100 for count in counts[1:])  # 1000 each, standard deviation 26


def test_the_same_seed_masks_the_same_words():
    ids = torch.arange(1, 41).view(4, 10)
    assert torch.equal(drawn(ids).targets, drawn(ids).targets)
    assert not torch.equal(drawn(ids).targets, drawn(ids, seed=1).targets)
