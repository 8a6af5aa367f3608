from __future__ import annotations

import pytest
import torch

from distill_lab.data.fake_text import FakeText

GIVEN = {
    "length": 12,
    "vocabulary_size": 60,
    "num_classes": 3,
    "num_train": 30,
    "num_validation": 9,
    "num_test": 6,
    "noise": 0.5,
    "split_seed": 0,
    "mask_id": None,
}


def test_rows_are_ids_that_are_padded_behind_their_words():
    data = FakeText(**GIVEN)
    splits = data.load()
    assert [len(split.targets) for split in splits] == [30, 9, 6]
    ids = splits.train.inputs
    assert ids.dtype == torch.int64
    assert data.info.vocabulary_size == 60
    assert int(ids.max()) < 60
    lengths = (ids > 0).sum(1)
    assert int(lengths.min()) >= 6
    assert len(lengths.unique()) > 1
    for row, length in zip(ids, lengths, strict=True):
        assert (row[:length] > 0).all()
        assert (row[length:] == 0).all()


def test_without_noise_a_class_has_words_of_its_own():
    train = FakeText(**GIVEN | {"noise": 0.0}).load().train
    words = [
        set(train.inputs[train.targets == number].unique().tolist()) - {0} for number in range(3)
    ]
    assert all(words)
    assert sum(map(len, words)) == len(set.union(*words))


def test_the_same_seed_gives_the_same_rows():
    first, again, other = (FakeText(**GIVEN | {"split_seed": seed}).load() for seed in (1, 1, 2))
    assert torch.equal(first.test.inputs, again.test.inputs)
    assert not torch.equal(first.test.inputs, other.test.inputs)


def test_with_a_mask_words_are_the_classes():
    data = FakeText(**GIVEN | {"mask_id": 40, "noise": 0.0})
    train = data.load().train
    assert data.info.num_classes == len(data.info.class_names) == 60
    assert ((train.inputs == 40).sum(dim=1) == 1).all()
    own = (train.targets - 1) // 8
    assert own.tolist() == (torch.arange(30) % 3).tolist()  # a word of the row's topic


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("length", 1),
        ("vocabulary_size", 24),
        ("num_classes", 1),
        ("num_train", 1),
        ("num_test", 0),
        ("noise", 1.1),
        ("mask_id", 24),
        ("mask_id", 60),
    ],
)
def test_a_knob_out_of_range_is_named(knob, value):
    with pytest.raises(ValueError, match=f"^{knob}: must be .*, got "):
        FakeText(**GIVEN | {knob: value})
