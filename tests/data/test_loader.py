from __future__ import annotations

import pytest
import torch

from distill_lab.contracts import Arrays, DataInfo
from distill_lab.data.augment import Augmentation
from distill_lab.data.loader import Loader

INFO = DataInfo("numbers", (1,), 3, ("a", "b", "c"), (0.0,), (1.0,))
IMAGES = DataInfo("images", (2, 4, 4), 3, ("a", "b", "c"), (0.5, 0.25), (0.5, 2.0))
META = torch.device("meta")


def arrays(num_samples: int) -> Arrays:
    numbers = torch.arange(num_samples)
    return Arrays(numbers.float()[:, None], numbers + 100)


def images(num_samples: int) -> Arrays:
    pixels = torch.rand(num_samples, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    return Arrays(pixels, torch.arange(num_samples) % 3)


def test_without_augmentation_a_pass_in_order_holds_every_sample_once_with_its_number():
    batches = list(Loader(arrays(5), INFO, 2))
    assert [batch.index.tolist() for batch in batches] == [[0, 1], [2, 3], [4]]
    assert [batch.targets.tolist() for batch in batches] == [[100, 101], [102, 103], [104]]
    assert [batch.inputs.tolist() for batch in batches] == [[[0], [1]], [[2], [3]], [[4]]]
    assert all(batch.view.tolist() == [0] * len(batch.index) for batch in batches)


@pytest.mark.parametrize(
    ("num_samples", "batch_size", "training", "sizes"),
    [
        (6, 3, True, [3, 3]),
        (5, 3, True, [3, 2]),
        (7, 3, True, [3, 3]),
        (7, 3, False, [3, 3, 1]),
        (3, 1, True, [1, 1, 1]),
        (1, 3, True, [1]),
        (2, 512, True, [2]),
    ],
)
def test_batch_sizes(num_samples, batch_size, training, sizes):
    loader = Loader(arrays(num_samples), INFO, batch_size, Augmentation(0) if training else None)
    assert [len(batch.index) for batch in loader] == sizes
    assert len(loader) == len(sizes)


def test_a_part_of_a_split_keeps_its_numbers():
    part = torch.tensor([1, 4, 6])
    assert [b.targets.tolist() for b in Loader(arrays(9), INFO, 2, samples=part)] == [
        [101, 104],
        [106],
    ]
    loader = Loader(arrays(9), INFO, 2, Augmentation(0), samples=part)
    [batch] = loader  # the lone third is left out
    assert len(loader) == 1
    assert set(batch.index.tolist()) < {1, 4, 6}
    assert batch.targets.tolist() == (batch.index + 100).tolist()


def order(seed: int, view: int) -> list[int]:
    loader = Loader(arrays(50), INFO, 8, Augmentation(seed), view=lambda: view)
    return torch.cat([batch.index for batch in loader]).tolist()


def test_the_order_of_training_is_a_function_of_seed_and_view():
    assert sorted(order(0, 0)) == list(range(50))
    assert order(0, 0) == order(0, 0) != list(range(50))
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


def test_inputs_and_targets_follow_the_shuffled_index():
    for batch in Loader(arrays(50), INFO, 8, Augmentation(0)):
        assert batch.inputs[:, 0].tolist() == batch.index.tolist()
        assert batch.targets.tolist() == (batch.index + 100).tolist()


def test_the_view_is_asked_once_when_a_pass_starts():
    views = iter([3, 4])
    loader = Loader(arrays(4), INFO, 2, view=lambda: next(views))
    assert [batch.view.tolist() for batch in loader] == [[3, 3], [3, 3]]
    assert [batch.view.tolist() for batch in loader] == [[4, 4], [4, 4]]


def test_each_batch_is_augmented_as_its_own_samples_and_view_say():
    split = images(10)
    augmentation = Augmentation(5, shift_pixels=1, horizontal_flip=True, cutout_pixels=2)
    for batch in Loader(split, IMAGES, 4, augmentation, view=lambda: 6):
        numbers = augmentation.draw(batch.index, 6, 4, 4)
        pixels = split.inputs[batch.index]
        frame = augmentation.frame(pixels, len(pixels))
        assert torch.equal(batch.inputs, augmentation.apply(pixels, numbers, IMAGES, frame))


def test_a_batch_may_be_written_over_without_harm_to_the_split():
    split, before = images(10), images(10)
    for augmentation in (None, Augmentation(0), Augmentation(0, shift_pixels=1)):
        for batch in Loader(split, IMAGES, 4, augmentation):
            batch.inputs.zero_()
            batch.targets.zero_()
            assert torch.equal(split.inputs, before.inputs)
            assert torch.equal(split.targets, before.targets)


def test_a_batch_outlives_the_next_one():
    loader = Loader(images(8), IMAGES, 4, Augmentation(0, shift_pixels=1))
    kept = [batch.inputs for batch in loader]
    copies = [batch.inputs.clone() for batch in loader]
    assert all(torch.equal(*pair) for pair in zip(kept, copies, strict=True))


def test_inputs_and_targets_are_made_on_the_device_while_index_and_view_stay():
    loader = Loader(images(6), IMAGES, 4, Augmentation(0, 1, True, 2), device=META)
    for batch in loader:
        assert batch.inputs.device == batch.targets.device == META
        assert batch.index.device.type == batch.view.device.type == "cpu"


def test_a_batch_size_below_one_is_refused():
    with pytest.raises(ValueError, match="batch_size: must be >= 1, got 0"):
        Loader(arrays(3), INFO, 0)


def test_batches_that_were_had_before_are_empty_and_the_others_as_in_a_whole_pass():
    augmentation = Augmentation(0, shift_pixels=1, horizontal_flip=True, cutout_pixels=2)
    whole, rest = (
        list(Loader(images(10), IMAGES, 4, augmentation, lambda: 3, had=had.__getitem__))
        for had in ({3: 0}, {3: 2})
    )
    assert [len(batch.index) for batch in rest] == [0, 0, 2]
    assert torch.equal(rest[2].inputs, whole[2].inputs)
    assert torch.equal(rest[2].index, whole[2].index)
    assert torch.equal(rest[2].targets, whole[2].targets)


@pytest.mark.parametrize(
    ("rank", "size", "rows"),
    [
        (0, 2, [[0, 1, 2], [5, 6]]),
        (1, 2, [[3, 4], [7, 8]]),
        (0, 4, [[0, 1], [5]]),
        (1, 4, [[2], [6]]),
        (3, 4, [[4], [8]]),
    ],
)
def test_a_process_has_its_rows_of_the_inputs_and_all_of_the_rest(rank, size, rows):
    batches = list(Loader(arrays(9), INFO, 5, share=(rank, size)))
    assert [batch.inputs.flatten().tolist() for batch in batches] == rows
    assert [batch.index.tolist() for batch in batches] == [[0, 1, 2, 3, 4], [5, 6, 7, 8]]
    assert [batch.targets.tolist() for batch in batches][1] == [105, 106, 107, 108]


def test_processes_together_have_the_augmented_rows_of_one():
    augmentation = Augmentation(3, shift_pixels=1, horizontal_flip=True, cutout_pixels=2)

    def batches(**share):
        return Loader(images(9), IMAGES, 4, augmentation, view=lambda: 5, **share)

    parts = [batches(share=(rank, 3)) for rank in range(3)]
    for whole, *own in zip(batches(), *parts, strict=True):
        assert torch.equal(torch.cat([batch.inputs for batch in own]), whole.inputs)
        assert all(torch.equal(batch.targets, whole.targets) for batch in own)


@pytest.mark.parametrize(("num_samples", "sizes"), [(6, [4]), (7, [4, 3]), (8, [4, 4])])
def test_in_training_a_last_batch_has_a_row_for_each_process(num_samples, sizes):
    loader = Loader(arrays(num_samples), INFO, 4, Augmentation(0), share=(2, 3))
    assert [len(batch.index) for batch in loader] == sizes
    assert len(loader) == len(sizes)
    assert all(len(batch.inputs) > 0 for batch in loader)
