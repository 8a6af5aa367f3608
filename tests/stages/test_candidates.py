"""Candidate teachers: each is trained once on a store, whoever asks."""

from __future__ import annotations

from threading import Event, Thread
from time import sleep

import numpy as np
import pytest
from safetensors.numpy import load_file
from transformers import BertConfig, BertModel

from distill_lab.config.check import build
from distill_lab.config.compose import compose
from distill_lab.errors import RunError
from distill_lab.stages import candidates
from distill_lab.stages.candidates import obtain, points
from distill_lab.stages.context import Context
from distill_lab.tracking.store import Store

QUICK = ["data=fake", "selection.regime.epochs=1", "hardware.threads=1"]
TWO = "teacher.channels={grid: [[4, 8], [8, 8]]}"


@pytest.fixture
def store(workdir):
    return Store("sqlite:///mlflow.db", "distill-lab", "mlartifacts")


@pytest.fixture
def stage(store):
    """Obtains the candidates of a config in a new run of stage 1; also says which were trained."""

    def go(*overrides, checksum="checksum"):
        parts = build(compose([*QUICK, *overrides]))
        with store.start("1 teacher", {}) as run:
            context = Context(parts, parts.data.load(), checksum, run, store)
            trained = obtain(context, points(parts))
        return trained, [record.name for record in store.children(run.id)]

    return go


class Other(Thread):
    """Someone else, who holds a lock for a second from now on."""

    def __init__(self, lock):
        super().__init__()
        self.lock, self.held = lock, Event()
        self.start()
        self.held.wait()

    def run(self):
        with self.lock:
            self.held.set()
            sleep(1.0)


def weights(trained):
    return [one.candidate.weights.sha256 for one in trained]


def test_each_is_a_run_below_the_stages_and_is_not_trained_again(stage):
    first, names = stage(TWO, "selection.seeds=[0,1]")
    assert names == [
        "candidate CNN channels=[4, 8], seed 0",
        "candidate CNN channels=[4, 8], seed 1",
        "candidate CNN channels=[8, 8], seed 0",
        "candidate CNN channels=[8, 8], seed 1",
    ]
    assert len(set(weights(first))) == 4
    again, names = stage(TWO, "selection.seeds=[0,1]", "selection.ece_weight=0.7", "seed=5")
    assert names == []
    assert again == first


def test_its_run_says_what_it_was_made_with(stage, store):
    stage("teacher.channels=[4, 8]")
    [run] = store.client.search_runs([store.experiment_id], "tags.kind = 'candidate'")
    for tag in ("mlflow.source.git.commit", "version.torch", "data_checksum", "seed", "data"):
        assert run.data.tags[tag], tag


def test_a_larger_grid_trains_what_is_new(stage):
    (first,), _ = stage("teacher.channels=[4, 8]")
    both, names = stage(TWO)
    assert names == ["candidate CNN channels=[8, 8], seed 0"]
    assert weights(both)[0] == first.candidate.weights.sha256


@pytest.mark.parametrize(
    "change",
    [
        {"overrides": ["selection.regime.lr=0.002"]},
        {"overrides": ["hardware.channels_last=false"]},
        {"overrides": ["reuse=off"]},
        {"checksum": "of other data"},
    ],
)
def test_what_can_change_a_candidate_has_it_trained_again(stage, change):
    stage("teacher.channels=[4, 8]")
    again = {key: value for key, value in change.items() if key != "overrides"}
    _, names = stage("teacher.channels=[4, 8]", *change.get("overrides", []), **again)
    assert len(names) == 1


def test_a_candidate_whose_weights_are_lost_is_trained_again_and_that_is_said(stage, store, capsys):
    (first,), _ = stage("teacher.channels=[4, 8]")
    store.fetch(first.candidate.weights.run_id, first.candidate.weights.path).unlink()
    (again,), names = stage("teacher.channels=[4, 8]")
    assert len(names) == 1
    assert "is trained again: " in capsys.readouterr().out
    assert again.candidate.weights.sha256 == first.candidate.weights.sha256


def test_what_another_process_is_at_is_left_for_last(stage, store, monkeypatch):
    asked = points(build(compose([*QUICK, TWO])))
    order, real = [], candidates._train

    def noted(context, point, *others):
        order.append(point.label)
        return real(context, point, *others)

    monkeypatch.setattr(candidates, "_train", noted)
    others, real_keys = [], candidates._fingerprints

    def first_is_taken(context, point, first):
        keys = real_keys(context, point, first)
        if point == asked[0] and not others:
            others.append(Other(context.store.lock(keys["fingerprint"])))
        return keys

    monkeypatch.setattr(candidates, "_fingerprints", first_is_taken)
    trained, _ = stage(TWO)
    assert order == [asked[1].label, asked[0].label]
    assert [one.candidate.label for one in trained] == [point.label for point in asked]


def test_smoothed_labels_make_another_teacher(stage):
    plain, _ = stage("teacher.channels=[4, 8]")
    smoothed, names = stage("teacher.channels=[4, 8]", "selection.label_smoothing=0.2")
    assert len(names) == 1
    assert weights(smoothed) != weights(plain)


TEXT = ["data=fake_text", "architecture@teacher=bert_tiny", "architecture@student=word_bag"]


def test_an_encoder_starts_from_the_weights_of_a_checkpoint(stage, workdir):
    config = BertConfig(
        vocab_size=200,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=512,
    )
    BertModel(config).save_pretrained("first")
    start = ["selection.pretrained=first", "selection.regime.lr=1e-12"]
    (trained,), names = stage(*TEXT, *start)
    assert len(names) == 1
    found = load_file(workdir / "first/model.safetensors")
    path = next(workdir.glob(f"mlartifacts/**/{trained.candidate.weights.path}"))
    weights = load_file(path)
    name = "encoder.layer.1.output.dense.weight"
    assert np.allclose(weights[f"encoder.{name}"], found[name], atol=1e-6)
    assert stage(*TEXT, *start)[1] == []
    BertModel(config).save_pretrained("first")  # other weights under the same name
    assert len(stage(*TEXT, *start)[1]) == 1


def test_a_checkpoint_of_another_size_is_refused(stage, workdir):
    BertModel(BertConfig(vocab_size=200, hidden_size=12, num_hidden_layers=1)).save_pretrained("a")
    with pytest.raises(RunError, match=r"selection.pretrained: of a: Bert has embeddings"):
        stage(*TEXT, "selection.pretrained=a")
