from __future__ import annotations

import pytest
import torch

from distill_lab.data.checksum import checksum
from distill_lab.data.digits import Digits
from distill_lab.errors import DataError


@pytest.fixture(scope="module")
def splits():
    return Digits(0.2, 0.2, 0).load()


def test_sizes_follow_the_fractions(splits):
    # 0.2 * 1797 = 359.4
    assert [len(split.targets) for split in splits] == [1079, 359, 359]


def test_tensors_are_pixels_in_zero_to_one_and_int64_targets(splits):
    for inputs, targets, _ in splits:
        assert inputs.shape == (len(targets), 1, 8, 8)
        assert inputs.dtype == torch.float32
        assert targets.dtype == torch.int64
        assert (inputs.min(), inputs.max()) == (0, 1)


def test_the_three_splits_together_are_the_images_of_scikit_learn(splits):
    from sklearn.datasets import load_digits

    images, targets = load_digits(return_X_y=True)
    ours = torch.cat([torch.cat([x.flatten(1) * 16, y[:, None]], 1) for x, y, _ in splits])
    theirs = torch.cat([torch.tensor(images), torch.tensor(targets)[:, None]], 1)
    assert sorted(ours.tolist()) == sorted(theirs.tolist())


def test_classes_are_in_proportion(splits):
    whole = torch.cat([targets for _, targets, _ in splits]).bincount()
    for _, targets, _ in splits:
        expected = whole * len(targets) / 1797
        assert (targets.bincount() - expected).abs().max() < 2


def test_info_is_that_of_the_pixels_trained_on(splits):
    info = Digits(0.2, 0.2, 0).info
    pixels = splits.train.inputs.double()
    assert info.input_shape == pixels.shape[1:]
    assert info.num_classes == len(info.class_names) == 10
    assert pixels.mean().item() == pytest.approx(info.mean[0], abs=5e-5)
    assert pixels.std().item() == pytest.approx(info.std[0], abs=5e-5)


def test_same_arrays_every_time_and_others_with_another_split_seed(splits):
    assert checksum(Digits(0.2, 0.2, 0).load()) == checksum(splits)
    assert checksum(Digits(0.2, 0.2, 1).load()) != checksum(splits)


@pytest.mark.parametrize("value", [0, 1, -0.1, 1.5, 1e-5])
@pytest.mark.parametrize("name", ["validation_fraction", "test_fraction"])
def test_a_fraction_out_of_range_is_named(name, value):
    fractions = {"validation_fraction": 0.2, "test_fraction": 0.2, name: value}
    with pytest.raises(ValueError, match=f"^{name}: must be .* got {value}"):
        Digits(**fractions, split_seed=0)


def test_nothing_left_to_train_on_is_refused():
    with pytest.raises(ValueError, match=r"validation_fraction \+ test_fraction: must leave >= 2"):
        Digits(0.5, 0.5, 0)


def test_other_images_are_refused(monkeypatch):
    monkeypatch.setattr("distill_lab.data.digits.SHA256", "0" * 64)
    with pytest.raises(DataError, match="differ from the pinned checksum"):
        Digits(0.2, 0.2, 0).load()
