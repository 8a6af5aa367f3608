"""Data in which something is missing: trained all the same where that can be, told where not."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow
MODULE = """
import torch

from distill_lab.contracts import Arrays, DataInfo, Splits

LEFT_OUT = {left_out}
SIZES = {sizes}


class Mine:
    def __init__(self) -> None:
        names = ("a", "b", "c")
        self.info = DataInfo("mine", (1, 4, 4), 3, names, (0.5,), (0.5,))

    def load(self) -> Splits:
        draws = torch.Generator().manual_seed(0)
        splits = {{}}
        for split in ("train", "validation", "test"):
            targets = torch.arange(SIZES.get(split, 60)) % 3
            for number in LEFT_OUT.get(split, ()):
                targets = targets[targets != number]
            noise = torch.rand(len(targets), 1, 4, 4, generator=draws)
            splits[split] = Arrays((noise + targets.view(-1, 1, 1, 1)) / 4, targets)
        return Splits(**splits)
"""


@pytest.fixture
def on(program, tmp_path):
    """Runs on data of one's own, of which parts are left out."""

    def run(*more, left_out=None, sizes=None):
        text = MODULE.format(left_out=left_out or {}, sizes=sizes or {})
        (tmp_path / "mine.py").write_text(text)
        (tmp_path / "conf" / "data").mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / "data" / "mine.yaml").write_text("_target_: mine.Mine\n")
        words = [text for text in program.tiny if not text.startswith("data")]
        return program.words(tmp_path, "data=mine", *words, *more)

    return run


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_split_without_one_of_the_classes_is_trained_and_measured(on, split):
    ended = on(left_out={split: [1]})
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err


def test_a_training_split_of_one_class_is_named(on):
    ended = on(left_out={"train": [1, 2]})
    assert ended.code == 1, ended.err
    assert "Traceback" not in ended.err
    assert "Failed: data: mine: train has samples of one class alone" in ended.err


def test_batches_of_one_class_are_trained(on):
    ended = on("regime.batch_size=1", "selection.regime.batch_size=1")
    assert ended.code == 0, ended.err


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_split_without_samples_is_named(on, split, tmp_path, kept):
    ended = on(sizes={split: 0})
    assert ended.code == 1, ended.err
    assert "Traceback" not in ended.err
    assert f"Failed: data: mine: {split} must have" in ended.err


def test_a_training_split_of_one_sample_is_named(on):
    ended = on(sizes={"train": 1})
    assert ended.code == 1, ended.err
    assert "Traceback" not in ended.err
    assert "Failed: data: mine: train must have >= 2 samples, it has 1." in ended.err


def test_a_teacher_of_other_data_is_refused_be_it_of_the_same_shape(program, kept, tmp_path):
    first = program(tmp_path)
    assert first.code == 0, first.err
    trained = kept(tmp_path).finished("5 train")
    for other in ("data.num_classes=7", "data.split_seed=1"):
        ended = program(tmp_path, other, f"selection.from_run={trained.info.run_id}")
        assert ended.code == 2, ended.err
        assert "Traceback" not in ended.err
        theirs = trained.data.tags["data_checksum"][:12]
        assert f"was trained on fake (checksum {theirs}), and this run is on fake" in ended.err
    assert program(tmp_path, f"selection.from_run={trained.info.run_id}").code == 0


def test_teachers_of_one_class_alone_are_refused(on):
    ended = on("selection.regime.leave_out_classes=[0,2]")
    assert ended.code == 2, ended.err
    assert "selection.regime.leave_out_classes: [0, 2] leaves teachers one class alone" in ended.err


@pytest.mark.parametrize("where", ["selection.regime", "regime"])
def test_a_loss_that_is_not_finite_is_told_with_what_to_lower(program, kept, tmp_path, where):
    optimizer = [f"{where}.optimizer=sgd", f"{where}.lr=1e30"]
    ended = program(tmp_path, *optimizer)
    assert ended.code == 1, ended.err
    assert "is not finite" in ended.err
    assert "regime.lr" in ended.err
    assert "Traceback" not in ended.err
    found = kept(tmp_path)
    failed = [r for r in found.records if r.info.status == "FAILED"]
    assert len(failed) == 2 + (where == "selection.regime")
    assert all("is not finite" in record.data.tags["error"] for record in failed)
    assert found.left() == [], "it would only diverge again"
