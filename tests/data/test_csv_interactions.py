from __future__ import annotations

import pytest

from distill_lab.data.csv_interactions import CsvInteractions
from distill_lab.errors import DataError

LINES = ["who,what,when", *(f"{user},{item},{9 - item}.5" for user in "ab" for item in range(5))]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my shop.csv"
    path.write_text("\n".join(LINES), encoding="utf-8")
    return path


def make(file, **changes):
    given = {
        "user_column": "who",
        "item_column": "what",
        "time_column": "when",
        "num_items": 5,
        "length": 3,
        "rows_per_user": None,
    }
    return CsvInteractions(str(file), **(given | changes))


def test_the_latest_item_of_each_user_is_asked_for(file):
    data = make(file)
    train, validation, test = data.load()
    assert test.inputs.tolist() == [[4, 3, 2]] * 2  # the later, the smaller
    assert test.targets.tolist() == [0, 0]
    assert validation.targets.tolist() == [1, 1]
    assert train.targets.tolist() == [3, 2, 3, 2]
    assert data.info.name == "my_shop"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"num_items": 6}, "data.num_items: must be 5, the number of items in .*, got 6."),
        ({"time_column": "whn"}, "data.time_column: .* has no column 'whn'. Did you mean 'when'"),
        (
            {"time_column": "who"},
            "data.time_column: .*my shop.csv, row 1: 'a' is no number. Give times as numbers",
        ),
    ],
)
def test_what_is_asked_for_wrongly_is_named(file, changes, text):
    with pytest.raises(DataError, match=text):
        make(file, **changes).load()


def test_users_with_few_items_are_not_enough(file):
    file.write_text("\n".join(LINES[:4]))
    with pytest.raises(DataError, match=r"data.user_column: no user of .* has four items"):
        make(file, num_items=3).load()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nothing.csv: cannot be read"):
        make(tmp_path / "nothing.csv").load()


def test_an_argument_out_of_range_is_named(file):
    with pytest.raises(ValueError, match=r"num_items: must be >= 2, got 1\."):
        make(file, num_items=1)
