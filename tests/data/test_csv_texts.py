from __future__ import annotations

import csv

import pytest

from distill_lab.data.checksum import checksum
from distill_lab.data.csv_texts import CsvTexts, in_order, read
from distill_lab.errors import ConfigError, DataError
from distill_lab.launch import checked, run_job

pytestmark = pytest.mark.usefixtures("no_figures")

LABELS = ("bad", "good")


def write(path, rows, header=("text", "label")):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture
def folder(tmp_path):
    """Twenty rows to train on and six to test on."""
    write(
        tmp_path / "train.csv", [(f"a {LABELS[n % 2]} film, {n}", LABELS[n % 2]) for n in range(20)]
    )
    write(tmp_path / "test.csv", [(f"a {LABELS[n % 2]} play", LABELS[n % 2]) for n in range(6)])
    return tmp_path


def make(folder, **changes):
    given = {
        "train": str(folder / "train.csv"),
        "validation": None,
        "test": str(folder / "test.csv"),
        "text_column": "text",
        "label_column": "label",
        "num_classes": 2,
        "length": 5,
        "num_words": 30,
        "student_words": None,
        "folder": "data_cache",
        "validation_fraction": 0.2,
        "split_seed": 0,
    }
    return CsvTexts(**given | changes)


def test_the_rows_are_read_and_a_part_is_split_off_in_proportion(folder):
    data = make(folder)
    train, validation, test = data.load()
    assert [len(split.targets) for split in (train, validation, test)] == [16, 4, 6]
    assert validation.targets.bincount().tolist() == [2, 2]
    assert test.targets.tolist() == [0, 1] * 3
    assert (data.info.class_names, data.info.vocabulary_size) == (LABELS, 32)
    assert (test.inputs[:, 2] == 1).all()  # "play" is in no text that is trained on
    assert checksum(data.load()) == checksum(make(folder).load())


def test_a_validation_file_is_taken_and_train_stays_whole(folder):
    write(folder / "valid.csv", [("a good day", "good"), ("a bad day", "bad")])
    train, validation, _ = make(folder, validation=str(folder / "valid.csv")).load()
    assert len(train.targets) == 20
    assert validation.targets.tolist() == [1, 0]


def test_columns_may_have_any_name_and_place_and_texts_any_character(folder):
    rows = [("x", 'say "ä",\nthen go', "1"), ("y", "", "0")]
    path = write(folder / "other.csv", rows, ("id", "Review", "stars"))
    assert read(path, "Review", "stars") == (['say "ä",\nthen go', ""], ["1", "0"])


def test_labels_are_in_order_of_number_or_of_the_alphabet():
    assert in_order(["10", "-1", "9"]) == ["-1", "9", "10"]
    assert in_order(["10", "9", "x"]) == ["10", "9", "x"]
    assert in_order(["01", "1", "0"]) == ["0", "01", "1"]


def test_a_text_may_be_long(folder):
    path = write(folder / "long.csv", [("word " * 50_000, "1")])
    assert len(read(path, "text", "label").texts[0]) == 250_000


def test_the_constructor_needs_no_file(tmp_path):
    assert make(tmp_path).info.class_names == ("0", "1")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"num_classes": 3}, "data.num_classes: must be 2, the number of labels in .*, got 3"),
        (
            {"text_column": "txt"},
            "data.text_column: .* has no column 'txt'. Did you mean 'text'. Columns: text, label.",
        ),
        ({"label_column": "y"}, "data.label_column: .* has no column 'y'.* Columns: text, label."),
        ({"validation_fraction": 0.999}, "data.validation_fraction: must leave"),
        ({"train": "nothing.csv"}, "nothing.csv: cannot be read"),
    ],
)
def test_what_is_asked_for_wrongly_is_named(folder, changes, text):
    with pytest.raises(DataError, match=text):
        make(folder, **changes).load()


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([("good", "fine")], "test.csv: has the label 'fine', which is not in train"),
        ([("good",)], "test.csv: row 1 has fewer fields than the header"),
        ([("a", "good"), ("b", "good", "c")], "test.csv: row 2 has more fields than the header"),
        ([("a", "good"), ("b", "")], "test.csv: row 2 has no 'label'"),
        ([], "test.csv: has no rows"),
    ],
)
def test_a_wrong_file_is_named(folder, rows, text):
    write(folder / "test.csv", rows)
    with pytest.raises(DataError, match=text):
        make(folder).load()


def test_a_file_that_is_no_text_is_named(folder):
    (folder / "test.csv").write_bytes(b"text,label\n\xff\xfe,1\n")
    with pytest.raises(DataError, match=r"test\.csv: cannot be read"):
        make(folder).load()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"num_classes": 1}, "num_classes: must be >= 2, got 1."),
        ({"validation_fraction": 1.0}, r"validation_fraction: must be in \(0, 1\), got 1.0."),
        ({"length": 1}, "length: must be >= 2, got 1."),
    ],
)
def test_an_argument_out_of_range_is_named(tmp_path, changes, text):
    with pytest.raises(ValueError, match=text):
        make(tmp_path, **changes)


def test_students_may_have_rows_of_their_own_words(folder):
    data = make(folder, student_words=3)
    assert data.info.input_shape == (10,)
    assert data.info.read_by(student=False).input_shape == (5,)
    own = data.info.read_by(student=True)
    assert (own.input_shape, own.vocabulary_size) == ((5,), 5)
    teachers, students = data.load().test.inputs.split(5, 1)
    assert teachers.equal(make(folder).load().test.inputs)
    assert students.equal(make(folder, num_words=3).load().test.inputs)
    with pytest.raises(ValueError, match=r"student_words: must be >= 1 or null, got 0"):
        make(folder, student_words=0)


@pytest.mark.slow
def test_a_student_reads_its_own_rows_from_check_to_report(folder, monkeypatch):
    monkeypatch.chdir(folder)
    given = [
        "data=csv_texts",
        "data.length=6",
        "data.num_words=30",
        "data.student_words=4",
        "data.validation_fraction=0.2",
        "architecture@teacher=bert_tiny",
        "architecture@student=bilstm",
        "regime.epochs=1",
        "selection.regime.epochs=1",
        "knowledge.num_samples=16",
        "knowledge.student_epochs=0",
        "design.latency_repeats=1",
        "evaluation.latency_repeats=1",
        "evaluation.energy_seconds=0",
        "hardware.threads=1",
    ]
    done = run_job(checked(given), given)
    embedding, lstm = 6 * 100, 2 * 4 * 150 * (100 + 150 + 2)
    head = 300 * 200 + 200 + 200 * 2 + 2
    assert done.report.rows[-1].cost.parameters == embedding + lstm + head
    again = run_job(checked(given), given)
    assert again.report == done.report
    taken = [*given, "architecture@student=word_bag", f"selection.from_run={done.run_id}"]
    assert run_job(checked(taken), taken).report.rows[0].architecture.startswith("BiLSTM")


def test_what_reads_both_rows_is_refused(folder, monkeypatch):
    monkeypatch.chdir(folder)
    given = ["data=csv_texts", "data.student_words=4", "architecture@teacher=bert_tiny"]
    for change, text in (
        ("regime.mask_words=0.1", "regime.mask_words: must be 0 where"),
        ("design.reuse_classifier=true", "must be false where students have rows of their own"),
    ):
        with pytest.raises(ConfigError, match=text):
            checked([*given, "architecture@student=text_cnn", change])
