from __future__ import annotations

import pytest
import torch

from distill_lab.contracts import Arrays, DataInfo, Splits
from distill_lab.data.module import DataModule
from distill_lab.data.word_augment import WordAugmentation, stretch

WORDS = DataInfo("words", (8,), 2, (), (), (), vocabulary_size=50, hidden_id=1)
PIECES = DataInfo("pieces", (8,), 2, (), (), (), 50, hidden_id=40, marks=(41, 42))
ROWS = torch.arange(2, 10).repeat(400, 1)
INDEX = torch.arange(400)


def test_a_share_of_the_words_is_hidden_and_no_padding():
    rows = ROWS.clone()
    rows[:, 6:] = 0
    hidden = WordAugmentation(0, mask_words=0.3).apply(rows, INDEX, 0, WORDS)
    changed = hidden != rows
    assert set(hidden[changed].tolist()) == {1}
    assert changed[:, :6].float().mean() == pytest.approx(0.3, abs=0.03)
    assert not changed[:, 6:].any()


def test_marks_are_never_hidden():
    rows = torch.tensor([[41, 5, 6, 7, 42, 0, 0, 0]])
    hidden = WordAugmentation(0, mask_words=1.0).apply(rows, INDEX[:1], 0, PIECES)
    assert hidden.tolist() == [[41, 40, 40, 40, 42, 0, 0, 0]]


def test_a_share_of_the_rows_is_cut_to_one_to_five_words_of_those_it_had():
    cut = WordAugmentation(0, ngram_rows=0.25).apply(ROWS, INDEX, 0, WORDS)
    changed = cut[(cut != ROWS).any(1)]
    assert len(changed) == pytest.approx(100, abs=25)
    lengths = (changed > 0).sum(1)
    assert set(lengths.tolist()) == {1, 2, 3, 4, 5}
    for row, length in zip(changed.tolist(), lengths.tolist(), strict=True):
        assert row[:length] == list(range(row[0], row[0] + length))
        assert row[length:] == [0] * (8 - length)
        assert 2 <= row[0] <= 9 - length + 1
    starts = {row[0] for row in changed.tolist()}
    assert {2, 9} <= starts  # from the first word to the last


@pytest.mark.parametrize(
    ("row", "length", "start", "expected"),
    [
        ([41, 5, 6, 7, 42, 0], 0.0, 0.0, [41, 5, 42, 0, 0, 0]),
        ([41, 5, 6, 7, 42, 0], 0.3, 0.99, [41, 6, 7, 42, 0, 0]),
        ([41, 5, 6, 7, 8, 42], 0.99, 0.5, [41, 5, 6, 7, 8, 42]),  # has no more than four
        ([41, 42, 0, 0, 0, 0], 0.99, 0.99, [41, 42, 0, 0, 0, 0]),
        ([41, 5, 42, 7, 42, 0], 0.0, 0.99, [41, 7, 42, 0, 0, 0]),  # of a pair, to its last word
        ([41, 5, 42, 7, 42, 0], 0.99, 0.0, [41, 5, 42, 7, 42, 0]),
    ],
)
def test_a_stretch_stands_between_the_marks(row, length, start, expected):
    found = stretch(torch.tensor([row]), torch.tensor([length]), torch.tensor([start]), (41, 42))
    assert found.tolist() == [expected]


def test_a_row_of_nothing_but_padding_stays():
    nothing = torch.zeros(1, 8, dtype=torch.int64)
    augmented = WordAugmentation(0, 1.0, 1.0).apply(nothing, INDEX[:1], 0, WORDS)
    assert torch.equal(augmented, nothing)


def test_a_row_depends_on_seed_sample_and_view_and_not_on_its_batch():
    def rows(seed=0, view=0, index=INDEX):
        return WordAugmentation(seed, 0.2, 0.3).apply(ROWS[: len(index)], index, view, WORDS)

    assert torch.equal(rows(), rows())
    assert torch.equal(rows()[200:210], rows(index=INDEX[200:210]))
    assert not torch.equal(rows(), rows(seed=1))
    assert not torch.equal(rows(), rows(view=1))


def test_training_sees_them_and_validation_does_not():
    arrays = Arrays(ROWS[:8], torch.arange(8) % 2)
    data = DataModule(WORDS, Splits(arrays, arrays, arrays), 4, WordAugmentation(0, mask_words=0.5))
    seen = {
        int(number): row
        for batch in data.train_dataloader()
        for number, row in zip(batch.index, batch.inputs, strict=True)
    }
    expected = WordAugmentation(0, mask_words=0.5).apply(ROWS[:8], INDEX[:8], 0, WORDS)
    assert torch.equal(torch.stack([seen[number] for number in range(8)]), expected)
    (validated,) = data.val_dataloader()
    assert torch.equal(validated.inputs, ROWS[:8])


@pytest.mark.parametrize("name", ["mask_words", "ngram_rows"])
@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_a_share_out_of_range_is_named(name, value):
    with pytest.raises(ValueError, match=rf"{name}: must be in \[0, 1\], got {value}"):
        WordAugmentation(0, **{name: value})
