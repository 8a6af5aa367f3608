from __future__ import annotations

import pytest
import torch

from distill_lab.data.label_noise import with_label_noise

TARGETS = torch.arange(4000) % 5


def noisy(fraction=0.25, seed=0, leave_out=(), targets=TARGETS):
    return with_label_noise(targets, fraction, 5, seed, leave_out)


def test_without_noise_the_labels_are_as_they_were():
    assert noisy(0.0) is TARGETS


def test_the_share_that_is_asked_for_is_replaced_and_the_given_labels_are_not_written_over():
    before = TARGETS.clone()
    assert int((noisy(0.25) != TARGETS).sum()) == 1000
    assert torch.equal(TARGETS, before)


def test_with_a_share_of_one_every_label_is_wrong():
    assert not bool((noisy(1.0) == TARGETS).any())


def test_every_other_class_is_as_likely():
    wrong = noisy(1.0)
    for label in range(5):
        counts = wrong[label == TARGETS].bincount(minlength=5).tolist()
        assert counts.pop(label) == 0
        # 800 draws of 4 classes: a standard deviation of 12.2, so five of them.
        assert all(abs(count - 200) < 62 for count in counts)


def test_the_seed_decides_and_the_same_seed_gives_the_same_labels():
    assert torch.equal(noisy(seed=3), noisy(seed=3))
    assert not torch.equal(noisy(seed=3), noisy(seed=4))


def test_more_noise_keeps_the_labels_that_less_noise_has_made_wrong():
    less, more = noisy(0.1), noisy(0.4)
    changed = less != TARGETS
    assert torch.equal(less[changed], more[changed])


def test_a_class_that_is_left_out_neither_loses_labels_nor_gets_any():
    made = noisy(0.5, leave_out=[1, 3])
    assert torch.equal(made == 1, TARGETS == 1)
    assert torch.equal(made == 3, TARGETS == 3)
    assert int((made != TARGETS).sum()) == 1200  # half of the 2,400 of the three other classes


def test_a_single_class_has_no_other_that_could_take_its_place():
    with pytest.raises(ValueError, match=r"^label_noise: must be 0 where fewer than two classes"):
        noisy(0.1, leave_out=[0, 1, 2, 3])
