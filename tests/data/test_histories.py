from __future__ import annotations

import numpy as np
import pytest

from distill_lab.data.histories import Histories


def splits(users, items, times=None, length=3, rows_per_user=None):
    times = np.arange(len(users)) if times is None else np.array(times)
    return Histories(length, rows_per_user).splits(np.array(users), np.array(items), times)


def test_the_last_items_are_asked_for_in_test_and_validation():
    users = [7] * 5 + [8] * 4 + [9] * 3
    train, validation, test = splits(users, range(12))
    assert test.inputs.tolist() == [[2, 3, 4], [6, 7, 8]]  # item k is k + 1
    assert test.targets.tolist() == [4, 8]
    assert validation.inputs.tolist() == [[1, 2, 3], [6, 7, 0]]
    assert validation.targets.tolist() == [3, 7]
    assert train.inputs.tolist() == [[1, 0, 0], [1, 2, 0], [6, 0, 0]]
    assert train.targets.tolist() == [1, 2, 6]


def test_what_a_user_had_is_the_whole_past_however_short_the_rows_are():
    # User 7 has items 0, 1, 2, 1, 3, 4; user 8 items 5, 6, 7, 8. Rows hold the latest item alone.
    users, items = [7] * 6 + [8] * 4, [0, 1, 2, 1, 3, 4, 5, 6, 7, 8]
    train, validation, test = splits(users, items, length=1)
    assert test.inputs.tolist() == [[4], [8]]
    assert test.had.tolist() == [[0, 0], [0, 1], [0, 2], [0, 3], [1, 5], [1, 6], [1, 7]]
    assert validation.had.tolist() == [[0, 0], [0, 1], [0, 2], [1, 5], [1, 6]]
    assert train.had is None


def test_training_may_ask_for_the_latest_items_alone():
    train, _, _ = splits([0] * 9, range(9), length=2, rows_per_user=3)
    assert train.targets.tolist() == [4, 5, 6]
    assert train.inputs.tolist() == [[3, 4], [4, 5], [5, 6]]


def test_items_are_in_order_of_time_and_then_as_given_and_numbered_by_their_order():
    # Of user 3: items 90, 20, 50, 80 at times 1, 1, 2, 0; numbers 3, 0, 1, 2.
    _, _, test = splits([3, 3, 5, 3, 3], [90, 20, 50, 50, 80], [1, 1, 9, 2, 0])
    assert test.inputs.tolist() == [[3, 4, 1]]
    assert test.targets.tolist() == [1]


def test_items_are_classes_and_tokens():
    info = Histories(5, None).info("films", 30)
    assert (info.input_shape, info.num_classes, info.vocabulary_size) == ((5,), 30, 31)
    assert info.ranks_items


@pytest.mark.parametrize(
    ("length", "rows", "text"),
    [(0, None, "length: must be >= 1, got 0."), (4, 0, "rows_per_user: must be >= 1 or null")],
)
def test_an_argument_out_of_range_is_named(length, rows, text):
    with pytest.raises(ValueError, match=text):
        Histories(length, rows)
