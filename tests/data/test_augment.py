from __future__ import annotations

import pytest
import torch

from distill_lab.contracts import DataInfo
from distill_lab.data.augment import Augmentation, blank_, mirror_, translate
from distill_lab.data.counter import Stream, uniform

IMAGES = torch.rand(64, 3, 6, 5, generator=torch.Generator().manual_seed(0))
INDEX = torch.arange(64)
# Mean 0 and deviation 1, so that pixels can be compared.
PLAIN = DataInfo("plain", (3, 6, 5), 2, ("a", "b"), (0.0,) * 3, (1.0,) * 3)
MONO = DataInfo("mono", (1, 5, 5), 2, ("a", "b"), (0.0,), (1.0,))
ALL = Augmentation(7, shift_pixels=2, horizontal_flip=True, cutout_pixels=3)


def augmented(augmentation, images, index, view, info=PLAIN):
    numbers = augmentation.draw(index, view, *images.shape[2:])
    frame = augmentation.frame(images, len(images))
    return augmentation.apply(images.clone(), numbers, info, frame)


def moved(images, down, right, limit):
    frame = Augmentation(0, shift_pixels=limit).frame(images, len(images))
    return translate(images, torch.as_tensor(down), torch.as_tensor(right), frame)


def test_translate_moves_each_image_by_its_own_offset_and_fills_with_zero():
    image = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    images = moved(image.expand(3, 1, 3, 3), [1, -1, 0], [0, -1, 2], 2)
    assert images[0, 0].tolist() == [[0, 0, 0], [1, 2, 3], [4, 5, 6]]
    assert images[1, 0].tolist() == [[5, 6, 0], [8, 9, 0], [0, 0, 0]]
    assert images[2, 0].tolist() == [[0, 0, 1], [0, 0, 4], [0, 0, 7]]


def test_translate_moves_all_channels_alike():
    images = moved(IMAGES, [1] * 64, [-2] * 64, 2)
    assert torch.equal(images[:, :, 1:, :3], IMAGES[:, :, :-1, 2:])
    assert images[:, :, 0].count_nonzero() == 0
    assert images[:, :, :, 3:].count_nonzero() == 0


@pytest.mark.parametrize("offset", [-4, 4])
def test_translate_to_the_limit_leaves_one_row_and_column_less_than_that(offset):
    images = moved(IMAGES, [offset] * 64, [offset] * 64, 4)
    kept = images[:, :, 4:, 4:] if offset > 0 else images[:, :, :2, :1]
    before = IMAGES[:, :, :2, :1] if offset > 0 else IMAGES[:, :, 4:, 4:]
    assert torch.equal(kept, before)
    assert images.count_nonzero() == before.count_nonzero()


def test_a_frame_serves_one_batch_after_another_also_a_smaller_one():
    frame = Augmentation(0, shift_pixels=2).frame(IMAGES, 64)
    ones, none = torch.ones(64, dtype=torch.int64), torch.zeros(64, dtype=torch.int64)
    translate(torch.ones_like(IMAGES), ones, ones, frame)
    assert torch.equal(translate(IMAGES, none, none, frame), IMAGES)
    assert torch.equal(translate(IMAGES[5:8], none[:3], none[:3], frame), IMAGES[5:8])
    assert translate(IMAGES[5:8], 2 * ones[:3], none[:3], frame)[:, :, :2].count_nonzero() == 0


def test_shift_draws_every_offset_up_to_the_limit_equally_often():
    dots = torch.zeros(9000, 1, 5, 5)
    dots[:, :, 2, 2] = 1
    shift = Augmentation(0, shift_pixels=1)
    counts = augmented(shift, dots, torch.arange(9000), 0, MONO).sum(0)[0]
    assert counts.sum() == 9000
    # Nine places, 1,000 +- five times sqrt(9000 * 1/9 * 8/9) = 29.8.
    assert (counts[1:4, 1:4] - 1000).abs().max() < 5 * 29.8


@pytest.mark.parametrize(
    ("number", "drawn"), [(0.0, [-4, -4, 1, 0, 0]), (1 - 2.0**-24, [4, 4, 0, 5, 4])]
)
def test_the_extreme_numbers_give_the_extreme_values(monkeypatch, number, drawn):
    monkeypatch.setattr(
        "distill_lab.data.augment.uniform",
        lambda seed, index, view, stream: torch.full((len(index),), number),
    )
    augmentation = Augmentation(0, shift_pixels=4, horizontal_flip=True, cutout_pixels=2)
    assert augmentation.draw(INDEX[:2], 0, 6, 5).tolist() == [drawn, drawn]


def test_each_number_has_a_stream_of_its_own():
    down, right, mirrored, row, column = ALL.draw(INDEX, 3, 6, 5).unbind(1)
    for drawn, stream, to_value in (
        (down, Stream.SHIFT_DOWN, lambda number: int(number * 5) - 2),
        (right, Stream.SHIFT_RIGHT, lambda number: int(number * 5) - 2),
        (mirrored, Stream.FLIP, lambda number: int(number < 0.5)),
        (row, Stream.CUTOUT_ROW, lambda number: int(number * 6)),
        (column, Stream.CUTOUT_COLUMN, lambda number: int(number * 5)),
    ):
        numbers = uniform(7, INDEX, 3, stream).tolist()
        assert drawn.tolist() == [to_value(number) for number in numbers]


def test_what_is_off_changes_nothing():
    assert not Augmentation(0).is_on
    assert Augmentation(0).draw(INDEX, 0, 6, 5).count_nonzero() == 0
    assert torch.equal(augmented(Augmentation(0), IMAGES, INDEX, 0), IMAGES)


@pytest.mark.parametrize("name", ["shift_pixels", "cutout_pixels"])
def test_a_negative_number_of_pixels_is_refused(name):
    with pytest.raises(ValueError, match=f"^{name}: must be >= 0, got -1"):
        Augmentation(0, **{name: -1})


@pytest.mark.parametrize("chosen", [[0, 1, 0], [0, 0, 0], [1, 1, 1]])
def test_mirror_turns_the_chosen_images_and_leaves_the_rest(chosen):
    images = IMAGES[:3].clone()
    mirror_(images, torch.tensor(chosen))
    for number, is_chosen in enumerate(chosen):
        columns = [4, 3, 2, 1, 0] if is_chosen else [0, 1, 2, 3, 4]
        assert torch.equal(images[number], IMAGES[number][:, :, columns])


def test_about_half_of_the_images_are_mirrored():
    mirrored = Augmentation(0, horizontal_flip=True).draw(torch.arange(1280), 0, 6, 5)[:, 2]
    # Five standard errors: 5 * sqrt(1280 / 4) = 89.
    assert abs(int(mirrored.sum()) - 640) < 90


@pytest.mark.parametrize(
    ("side", "row", "column", "blank_rows", "blank_columns"),
    [
        (3, 2, 2, {1, 2, 3}, {1, 2, 3}),
        (2, 2, 3, {1, 2}, {2, 3}),
        (1, 5, 4, {5}, {4}),
        (4, 0, 4, {0, 1}, {2, 3, 4}),
        (20, 5, 0, {0, 1, 2, 3, 4, 5}, {0, 1, 2, 3, 4}),
    ],
)
def test_a_square_around_its_middle_is_blank_and_nothing_else(
    side, row, column, blank_rows, blank_columns
):
    images = IMAGES[:2] + 1
    blank_(images, torch.tensor([row, 3]), torch.tensor([column, 1]), side)
    for y in range(6):
        for x in range(5):
            is_blank = y in blank_rows and x in blank_columns
            expected = torch.zeros(3) if is_blank else IMAGES[0, :, y, x] + 1
            assert torch.equal(images[0, :, y, x], expected)


def test_the_middle_of_the_square_is_uniform_over_the_image():
    counts = torch.zeros(5, 5)
    drawn = Augmentation(0, cutout_pixels=1).draw(torch.arange(25_000), 0, 5, 5)
    counts.index_put_((drawn[:, 3], drawn[:, 4]), torch.ones(()), accumulate=True)
    # 25 places, 1,000 +- five times sqrt(25000 * 1/25 * 24/25) = 31.
    assert (counts - 1000).abs().max() < 5 * 31


def test_the_square_has_the_mean_colour():
    info = DataInfo("toy", (3, 6, 5), 2, ("a", "b"), (0.2, 0.4, 0.6), (0.1, 0.2, 0.3))
    whole = augmented(Augmentation(0, cutout_pixels=40), IMAGES, INDEX, 0, info)
    # Normalised, the mean is 0.
    assert whole.count_nonzero() == 0


def test_pixels_are_normalised_after_the_shift_so_that_what_comes_in_is_black():
    info = DataInfo("toy", (1, 5, 5), 2, ("a", "b"), (0.5,), (0.25,))
    images = augmented(Augmentation(0, shift_pixels=5), torch.ones(64, 1, 5, 5), INDEX, 0, info)
    # (0 - 0.5) / 0.25 and (1 - 0.5) / 0.25
    assert images.unique().tolist() == [-2, 2]


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(7, shift_pixels=2),
        Augmentation(7, horizontal_flip=True),
        Augmentation(7, cutout_pixels=3),
        ALL,
    ],
    ids=["shift", "flip", "cutout", "all"],
)
class TestEveryAugmentation:
    def test_a_sample_looks_the_same_in_any_batch(self, augmentation):
        whole = augmented(augmentation, IMAGES, INDEX, 3)
        order = torch.tensor([5, 60, 0, 33])
        some = augmented(augmentation, IMAGES[order], order, torch.full((4,), 3))
        alone = augmented(augmentation, IMAGES[60:61], torch.tensor([60]), 3)
        assert torch.equal(some, whole[order])
        assert torch.equal(alone[0], whole[60])

    def test_another_view_or_seed_looks_different(self, augmentation):
        first = augmented(augmentation, IMAGES, INDEX, 0)
        settings = vars(augmentation) | {"seed": 8}
        assert not torch.equal(first, augmented(augmentation, IMAGES, INDEX, 1))
        assert not torch.equal(first, augmented(Augmentation(**settings), IMAGES, INDEX, 0))

    def test_it_runs_where_the_batch_is(self, augmentation):
        # A meta tensor has no values: to ask for one, as a wait for a GPU would, is an error.
        numbers = augmentation.draw(INDEX, 0, 6, 5)
        images = IMAGES.to("meta")
        frame = augmentation.frame(images, 64)
        result = augmentation.apply(images, numbers, PLAIN, frame)
        assert result.device.type == "meta"
        assert result.shape == IMAGES.shape
