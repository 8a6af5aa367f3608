from __future__ import annotations

import pytest
import torch

from distill_lab.data.checksum import checksum
from distill_lab.data.fake import Fake

ARGUMENTS = {
    "input_shape": [2, 8, 6],
    "num_classes": 4,
    "num_train": 42,
    "num_validation": 9,
    "num_test": 8,
    "noise": 0.3,
    "split_seed": 0,
}


def test_shapes_types_and_range():
    info, splits = Fake(**ARGUMENTS).info, Fake(**ARGUMENTS).load()
    assert [len(split.targets) for split in splits] == [42, 9, 8]
    for inputs, targets, _ in splits:
        assert inputs.shape == (len(targets), 2, 8, 6) == (len(targets), *info.input_shape)
        assert inputs.dtype == torch.float32
        assert targets.dtype == torch.int64
        assert 0 <= inputs.min() <= inputs.max() <= 1


def test_classes_are_balanced_in_every_split():
    counts = [targets.bincount().tolist() for _, targets, _ in Fake(**ARGUMENTS).load()]
    assert counts == [[11, 11, 10, 10], [3, 2, 2, 2], [2, 2, 2, 2]]


def test_the_nearest_class_mean_of_the_training_split_classifies_the_test_split():
    train, _, test = Fake(**ARGUMENTS).load()
    means = torch.stack([train.inputs[train.targets == k].mean(0) for k in range(4)])
    nearest = torch.cdist(test.inputs.flatten(1), means.flatten(1)).argmin(1)
    assert torch.equal(nearest, test.targets)


def test_without_noise_a_class_is_one_image_of_four_by_four_patches():
    inputs, targets, _ = Fake(**ARGUMENTS | {"noise": 0, "input_shape": [1, 8, 8]}).load().train
    first = inputs[targets == 0]
    assert torch.equal(first, first[:1].expand_as(first))
    assert torch.equal(first[0, 0, ::2, ::2], first[0, 0, 1::2, 1::2])
    assert len(first[0].unique()) == 16


def test_noise_differs_between_samples_and_splits():
    train, validation, _ = Fake(**ARGUMENTS).load()
    assert not torch.equal(train.inputs[0], train.inputs[4])
    assert not torch.equal(train.inputs[0], validation.inputs[0])


def test_same_arrays_every_time_and_others_with_another_seed():
    first = checksum(Fake(**ARGUMENTS).load())
    assert checksum(Fake(**ARGUMENTS).load()) == first
    assert checksum(Fake(**ARGUMENTS | {"split_seed": 1}).load()) != first


def test_stated_mean_and_std_are_those_of_pixels_without_noise():
    dataset = Fake(**ARGUMENTS | {"noise": 0, "num_classes": 1000, "num_train": 1000})
    pixels = dataset.load().train.inputs
    assert pixels.mean().item() == pytest.approx(dataset.info.mean[0], abs=0.01)
    assert pixels.std().item() == pytest.approx(dataset.info.std[0], abs=0.01)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("input_shape", [8, 8]),
        ("input_shape", [1, 0, 8]),
        ("num_classes", 1),
        ("num_train", 1),
        ("num_validation", 0),
        ("num_test", -1),
        ("noise", -0.1),
    ],
)
def test_an_argument_out_of_range_is_named(name, value):
    with pytest.raises(ValueError, match=f"^{name}: must be "):
        Fake(**ARGUMENTS | {name: value})
