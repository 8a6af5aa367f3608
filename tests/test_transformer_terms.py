"""TinyBERT, MiniLM and Patient KD on texts; students of other widths, depths and heads."""

from __future__ import annotations

import math

import pytest

from distill_lab.errors import ConfigError
from distill_lab.launch import checked, run_job
from distill_lab.tracking.store import Store

pytestmark = pytest.mark.usefixtures("no_figures")

LAYER = "encoder.encoder.layer"
TEACHER = ["num_layers=4", "width=32", "num_heads=4", "feed_forward=32"]
STUDENT = ["num_layers=2", "width=16", "num_heads=2", "feed_forward=16"]
TINYBERT = [["encoder.embeddings"] * 2, [f"{LAYER}.0", f"{LAYER}.1"], [f"{LAYER}.1", f"{LAYER}.3"]]
TEXT = ["data=fake_text", "data.length=8", "architecture@teacher=bert_tiny"]
TEXT += [f"teacher.{knob}" for knob in TEACHER]
BERT = [*TEXT, "architecture@student=bert_tiny", *(f"student.{knob}" for knob in STUDENT)]


def pairs(term, taps):
    return f"loss.{term}.pairs=[{','.join(f'[{a},{b}]' for a, b in taps)}]"


def with_suffix(taps, suffix):
    return [[f"{tap}{suffix}" for tap in pair] for pair in taps]


def refused(*overrides):
    with pytest.raises(ConfigError) as caught:
        checked(list(overrides))
    return caught.value.problems


@pytest.mark.slow
def test_all_terms_of_transformers_train_a_smaller_bert_in_six_stages(workdir):
    given = [
        *BERT,
        "loss=[ce,kd,hidden_mse,attention_mse,attention_kl,minilm,pkd,cosine]",
        pairs("hidden_mse", TINYBERT),
        pairs("attention_mse", with_suffix(TINYBERT[1:], ":attention")),
        "regime.epochs=1",
        "selection.regime.epochs=1",
        "knowledge.student_epochs=1",
        "knowledge.num_samples=64",
        "design.latency_repeats=3",
        "evaluation.latency_repeats=3",
        "evaluation.energy_seconds=0",
        "hardware.threads=1",
    ]
    done = run_job(checked(given), given)
    store = Store("sqlite:///mlflow.db", "distill-lab", "mlartifacts")
    stages = {run.tags["stage"]: run for run in store.children(done.run_id)}
    assert [run.status for run in stages.values()] == ["FINISHED"] * 7
    handoff = store.read_json(stages["4 loss"].id, "handoff.json")
    assert handoff["pairs"]["hidden_mse"] == TINYBERT
    assert handoff["pairs"]["minilm"] == [[f"{LAYER}.1:qkv", f"{LAYER}.3:qkv"]]
    for term in handoff["terms"]:
        assert math.isfinite(term["value"])
        assert term["gradient_norm"] > 0, term["name"]


@pytest.mark.parametrize("student", ["distilbert", "bert_tiny"])
@pytest.mark.parametrize("term", ["hidden_mse", "attention_mse", "attention_kl", "minilm", "pkd"])
def test_each_term_takes_any_transformer_as_a_student(term, student):
    knobs = [f"student.{knob}" for knob in STUDENT]
    checked([*TEXT, f"architecture@student={student}", *knobs, f"loss=[ce,{term}]"])


@pytest.mark.parametrize("student", ["bilstm", "text_cnn"])
@pytest.mark.parametrize("term", ["attention_mse", "attention_kl", "minilm"])
def test_a_student_without_attention_is_refused_before_a_run(term, student):
    [problem] = refused(*TEXT, f"architecture@student={student}", f"loss=[ce,{term}]")
    assert problem.startswith(f"loss.{term}: pairs: auto finds 0 of 1 pairs of layers")
    assert f"Student: no layer; teacher: {LAYER}.0:" in problem
    assert "Only layers around self-attention show" in problem


def test_a_named_layer_without_attention_is_told():
    taps = [["forwards:attention", f"{LAYER}.3:attention"]]
    named = ["architecture@student=bilstm", "loss=[ce,attention_mse]", pairs("attention_mse", taps)]
    [problem] = refused(*TEXT, *named)
    assert problem.startswith("loss.attention_mse: taps: 'forwards' of BiLSTM shows no attention.")


def test_relation_heads_that_do_not_divide_a_width_are_told_with_the_nearest():
    [problem] = refused(*BERT, "student.width=12", "student.num_heads=3", "loss=[ce,minilm]")
    assert "num_relation_heads: must divide the width 12" in problem
    assert "Nearest: 6." in problem


def test_words_are_never_compared_as_a_map():
    [problem] = refused(*BERT, "loss=[ce,at]")
    assert problem.startswith(
        "loss.at: pairs: auto finds 0 of 1 pairs of layers that are both maps"
    )
    assert f"Student: {LAYER}.0 (2, 8, 16)" in problem
    assert f"teacher: {LAYER}.0 (2, 8, 32)" in problem
