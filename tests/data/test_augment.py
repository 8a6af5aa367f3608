from __future__ import annotations

import pytest
import torch

from distill_lab.data.augment import horizontal_flip, shift, translate

IMAGES = torch.rand(64, 3, 6, 5, generator=torch.Generator().manual_seed(0))
INDEX = torch.arange(64)


def test_translate_moves_each_image_by_its_own_offset_and_fills_with_zero():
    image = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    moved = translate(
        image.expand(3, 1, 3, 3), torch.tensor([1, -1, 0]), torch.tensor([0, -1, 2]), 2
    )
    assert moved[0, 0].tolist() == [[0, 0, 0], [1, 2, 3], [4, 5, 6]]
    assert moved[1, 0].tolist() == [[5, 6, 0], [8, 9, 0], [0, 0, 0]]
    assert moved[2, 0].tolist() == [[0, 0, 1], [0, 0, 4], [0, 0, 7]]


def test_translate_moves_all_channels_alike():
    moved = translate(IMAGES, torch.full((64,), 1), torch.full((64,), -2), 2)
    assert torch.equal(moved[:, :, 1:, :3], IMAGES[:, :, :-1, 2:])
    assert moved[:, :, 0].count_nonzero() == 0
    assert moved[:, :, :, 3:].count_nonzero() == 0


def test_shift_draws_every_offset_up_to_the_limit_equally_often():
    dots = torch.zeros(9000, 1, 5, 5)
    dots[:, :, 2, 2] = 1
    counts = shift(dots, 1, 0, torch.arange(9000), 0).sum(0)[0]
    assert counts.sum() == 9000
    # Nine places, 1,000 +- five times sqrt(9000 * 1/9 * 8/9) = 29.8.
    assert (counts[1:4, 1:4] - 1000).abs().max() < 5 * 29.8


@pytest.mark.parametrize(("number", "offset"), [(0.0, -4), (1 - 2.0**-24, 4)])
def test_the_extreme_numbers_give_the_extreme_offsets(monkeypatch, number, offset):
    monkeypatch.setattr(
        "distill_lab.data.augment.uniform",
        lambda seed, index, view, stream: torch.full((len(index),), number),
    )
    offsets = torch.full((64,), offset)
    assert torch.equal(shift(IMAGES, 4, 0, INDEX, 0), translate(IMAGES, offsets, offsets, 4))


def test_shift_by_no_pixels_changes_nothing():
    assert torch.equal(shift(IMAGES, 0, 0, INDEX, 0), IMAGES)


def test_shift_refuses_a_negative_limit():
    with pytest.raises(ValueError, match="pixels: must be >= 0, got -1"):
        shift(IMAGES, -1, 0, INDEX, 0)


def test_flip_mirrors_about_half_of_the_images_and_leaves_the_rest():
    flipped = horizontal_flip(IMAGES.repeat(20, 1, 1, 1), 0, torch.arange(1280), 0)
    originals = IMAGES.repeat(20, 1, 1, 1)
    kept = (flipped == originals).flatten(1).all(1)
    mirrored = (flipped == originals[:, :, :, [4, 3, 2, 1, 0]]).flatten(1).all(1)
    assert bool((kept ^ mirrored).all())
    # Five standard errors: 5 * sqrt(1280 / 4) = 89.
    assert abs(int(mirrored.sum()) - 640) < 90


@pytest.mark.parametrize(
    "augment", [lambda *args: shift(args[0], 2, *args[1:]), horizontal_flip], ids=["shift", "flip"]
)
class TestBothAugmentations:
    def test_a_sample_looks_the_same_in_any_batch(self, augment):
        whole = augment(IMAGES, 7, INDEX, 3)
        order = torch.tensor([5, 60, 0, 33])
        some = augment(IMAGES[order], 7, order, torch.full((4,), 3))
        alone = augment(IMAGES[60:61], 7, torch.tensor([60]), 3)
        assert torch.equal(some, whole[order])
        assert torch.equal(alone[0], whole[60])

    def test_another_view_or_seed_looks_different(self, augment):
        first = augment(IMAGES, 7, INDEX, 0)
        assert not torch.equal(first, augment(IMAGES, 7, INDEX, 1))
        assert not torch.equal(first, augment(IMAGES, 8, INDEX, 0))

    def test_the_input_is_left_as_it_was(self, augment):
        before = IMAGES.clone()
        augment(IMAGES, 7, INDEX, 0)
        assert torch.equal(IMAGES, before)
