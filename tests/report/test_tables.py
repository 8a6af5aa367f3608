from __future__ import annotations

import csv
import io

import pytest

from distill_lab.report.tables import csv_text, format_value, is_numeric, markdown, text

ROWS = [
    {"network": "teacher", "accuracy": 0.987654321, "parameters": 1234567},
    {"network": "student", "accuracy": None, "parameters": 980, "note": "small"},
]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "\u2013"),
        (0.123456, "0.1235"),
        (0.00001234567, "1.235e-05"),
        (12345.678, "12,350"),
        (4.0, "4"),
        (1234567, "1,234,567"),
        (-0.5, "-0.5"),
        (3e12, "3e+12"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (False, "no"),
        ("two\nlines", "two lines"),
    ],
)
def test_values_are_written_for_people(value, expected):
    assert format_value(value) == expected


def test_text_aligns_numbers_right_and_words_left():
    assert text(ROWS).splitlines() == [
        "network  accuracy  parameters  note",
        "-------  --------  ----------  -----",
        "teacher    0.9877   1,234,567  \u2013",
        "student         \u2013         980  small",
    ]


def test_text_shows_the_columns_asked_for_in_their_order():
    assert text(ROWS, ["parameters", "network"]).splitlines()[2] == " 1,234,567  teacher"


def test_text_of_no_rows_is_its_header():
    assert text([], ["a", "bc"]) == "a  bc\n-  --"


def test_a_column_of_words_or_flags_is_not_numeric():
    assert is_numeric(ROWS, "accuracy")
    assert not is_numeric(ROWS, "network")
    assert not is_numeric([{"kept": True}], "kept")
    assert not is_numeric([{"empty": None}], "empty")


def test_markdown_is_a_table_with_aligned_numbers():
    assert markdown(ROWS, ["network", "parameters"]).splitlines() == [
        "| network | parameters |",
        "| --- | ---: |",
        "| teacher | 1,234,567 |",
        "| student | 980 |",
    ]


def test_markdown_cells_cannot_leave_their_cell_or_hold_markup():
    line = markdown([{"name": "a|b\n<script>"}]).splitlines()[-1]
    assert line == "| a\\|b &lt;script> |"


def test_csv_keeps_full_precision_and_quotes():
    rows = [{"name": 'a, "b"\nc', "value": 0.1 + 0.2, "none": None}]
    (read,) = csv.DictReader(io.StringIO(csv_text(rows)))
    assert read == {"name": 'a, "b"\nc', "value": "0.30000000000000004", "none": ""}


def test_csv_has_every_column_of_every_row():
    assert csv_text(ROWS).splitlines()[0] == "network,accuracy,parameters,note"
