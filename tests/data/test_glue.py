from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from distill_lab.data.glue import TASKS, Glue
from distill_lab.errors import DataError

SENTENCES = {
    "sentence": [f"a film {number}" for number in range(20)],
    "label": [number % 2 for number in range(20)],
}
PAIRS = {
    "sentence1": [f"one two three four {number}" for number in range(20)],
    "sentence2": ["five"] * 20,
    "label": [number % 2 for number in range(20)],
}


@pytest.fixture
def hub(monkeypatch):
    """The package datasets, with 20 samples a task."""
    asked = []

    def load_dataset(path, task):
        asked.append((path, task))
        if task == "cola":
            raise ConnectionError("no answer\nfrom the hub")
        own = SENTENCES if task == "sst2" else PAIRS
        few = {name: values[:6] for name, values in own.items()}
        return {"train": own, "validation": few}

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    for task in ("sst2", "mrpc"):
        monkeypatch.setitem(TASKS, task, replace(TASKS[task], num_train=20))
    return asked


def make(task="sst2", num_validation=4, length=4, num_words=30):
    return Glue(task, length, num_words, None, "data_cache", num_validation, split_seed=0)


def test_the_published_validation_split_is_the_test_split(hub):
    train, validation, test = make().load()
    assert [len(split.targets) for split in (train, validation, test)] == [16, 4, 6]
    assert validation.targets.bincount().tolist() == [2, 2]
    assert test.targets.tolist() == [0, 1] * 3
    assert test.inputs[:, :2].tolist() == [[2, 3]] * 6  # "a", "film"
    assert hub == [("nyu-mll/glue", "sst2")]


def test_each_sentence_of_a_pair_has_half_of_the_row(hub):
    data = make("mrpc", length=8)
    row = data.load().test.inputs[0].tolist()
    assert row[5:] == [0, 0, 0]  # four words of the first, one of the second
    assert len(set(row[:5])) == 5
    assert min(row[:5]) >= 2


def test_what_the_hub_says_is_the_reason(hub):
    with pytest.raises(DataError, match="task cola, could not be loaded: no answer from the hub"):
        make("cola").load()


def test_other_samples_than_the_published_are_refused(hub, monkeypatch):
    monkeypatch.setitem(TASKS, "sst2", replace(TASKS["sst2"], num_train=21))
    with pytest.raises(DataError, match="glue_sst2: must have 21 training samples, got 20"):
        make().load()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'distill-lab\[hub\]'"):
        make().load()


def test_every_task_has_its_classes():
    counts = {task: make(task, length=5).info.num_classes for task in TASKS}
    assert counts == dict.fromkeys(TASKS, 2) | {"mnli": 3}


def test_a_row_without_room_for_a_pair_is_refused():
    with pytest.raises(ValueError, match="length: must be >= 5 for pairs of sentences, got 4"):
        make("rte", length=4)


@pytest.mark.parametrize("number", [0, 634])
def test_a_validation_split_out_of_range_is_named(number):
    with pytest.raises(ValueError, match=rf"num_validation: must be in \[1, 633\], got {number}"):
        make("wnli", number, length=5)
