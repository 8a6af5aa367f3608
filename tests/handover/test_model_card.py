from __future__ import annotations

import re
from dataclasses import replace

import pytest

from distill_lab.contracts import Component, DataInfo
from distill_lab.handover.copies import Alike
from distill_lab.handover.model_card import Facts, OfClass, model_card, worst_classes
from distill_lab.measure.cost import Cost
from distill_lab.measure.fidelity import Fidelity
from distill_lab.measure.ranking import Ranking
from distill_lab.measure.scores import Scores
from distill_lab.stages.handoffs import (
    Candidate,
    ConnectedLoss,
    TeacherChoice,
    Term,
    TrainedStudent,
    Weights,
)
from distill_lab.stages.report_handoff import CONTROL, DISTILLED, TEACHER, Report, Row, Variant

INFO = DataInfo("shapes", (1, 4, 5), 3, ("circle", "square", "star"), (0.5,), (0.25,))
WEIGHTS = Weights("run5", "weights/student.safetensors", "c" * 64)
COST = Cost(19_210, 18_944, 1, 0.5, 0.4, 100.0)


def scores(accuracy, confidence=0.9, ranking=None):
    return Scores(accuracy, 0.31, 0.2, 0.0456, confidence, 4, ranking)


def row(name, architecture, accuracy, **more):
    return Row(name, architecture, scores(accuracy, **more), 0.9125, 0.1, COST, 2048)


@pytest.fixture
def facts():
    teacher = Candidate("CNN channels=[32]", Component("m.CNN"), 0, WEIGHTS, scores(0.9), COST, 0.9)
    rows = [
        row(TEACHER, "CNN channels=[32]", 0.95),
        row(CONTROL, "MLP widths=[64]", 0.81),
        row(DISTILLED, "MLP widths=[64]", 0.85),
    ]
    terms = [Term("ce", 0.1, 1.0, 1.0, 0.1, False), Term("kd", 0.9, 1.0, 1.0, 0.9, True)]
    return Facts(
        info=INFO,
        source="shapes.Shapes",
        checksum="d" * 64,
        sizes={"train": 1000, "validation": 200, "test": 400},
        value_range=(0.0, 255.0),
        left_out=(),
        num_seen=1000,
        seed=7,
        command="distill-lab data=shapes",
        commit="abc123",
        torch="2.14.1",
        starts_from=None,
        teachers=TeacherChoice([teacher], 2),
        loss=ConnectedLoss(terms, 4.0, {}),
        student=TrainedStudent(
            "MLP widths=[64]",
            Component("distill_lab.models.mlp.MLP", {"widths": [64]}),
            WEIGHTS,
            scores(0.87),
            40,
            19,
            1.0,
        ),
        report=Report(rows, [], [], scores(0.87), "models:/m-1", 1.0, Fidelity(1.0, 0.0), None),
        classes=(OfClass("circle", 100, 100), OfClass("square", 60, 100), OfClass("star", 99, 200)),
        num_bins=15,
        copies={"student.pt2": Alike(0.0, 400, 400), "student.onnx": Alike(3.1e-7, 399, 400)},
        not_made={},
    )


def sections(card):
    parts = re.split(r"^## (.*)\n", card, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_it_has_the_sections_of_mitchell_et_al_in_their_order(facts):
    assert list(sections(model_card(facts))) == [
        "Model details",
        "Intended use",
        "Factors",
        "Metrics",
        "Evaluation data",
        "Training data",
        "Quantitative analyses",
        "Ethical considerations",
        "Caveats and recommendations",
    ]


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ("Model details", "MLP widths=[64] (`distill_lab.models.mlp.MLP`), 19,210 parameters"),
        ("Model details", "Teacher: CNN channels=[32]\n"),
        ("Model details", "0.1 x ce + 0.9 x kd, at temperature 4"),
        ("Model details", "epoch 19 of 40, seed 7"),
        ("Model details", "(N, 1, 4, 5) float32"),
        ("Model details", "are in [0, 255]. Served, and in `.pt2` and `.onnx`, it norm"),
        ("Model details", "normalises by mean 0.5, deviation 0.25"),
        ("Model details", "(N, 3) float32 logits, one for each class"),
        ("Model details", "`distill-lab data=shapes`, distill-lab at commit abc123, torch 2.14.1"),
        ("Model details", "c" * 64),
        ("Model details", "Licence: that of the data is not known to this program"),
        ("Intended use", "Tells 3 classes apart: circle, square, star."),
        ("Metrics", "in 15 bins"),
        ("Evaluation data", "shapes, 400 samples"),
        ("Evaluation data", "d" * 64),
        ("Training data", "shapes, 1,000 samples; choices"),
        ("Quantitative analyses", "| student distilled | 0.85 |"),
        ("Quantitative analyses", "has accuracy 0.8700."),
        ("Quantitative analyses", "star (99 of 200), square (60 of 100)."),
        ("Ethical considerations", "91.2%"),
        ("Caveats and recommendations", "one sample of it is 0.25 points"),
        ("Caveats and recommendations", "trained once, with seed 7"),
        ("Caveats and recommendations", "over-confident on the test split: mean confidence 0.9000"),
        ("Caveats and recommendations", "ECE 0.0456"),
        ("Caveats and recommendations", "`student.onnx` was asked about the whole test split: 399"),
    ],
)
def test_what_it_tells(facts, section, told):
    assert told in sections(model_card(facts))[section]


def test_classes_without_a_mistake_are_not_among_the_worst():
    given = (OfClass("a", 5, 5), OfClass("b", 0, 0), OfClass("c", 4, 5), OfClass("d", 1, 5))
    assert [one.name for one in worst_classes(given)] == ["d", "c"]


def test_at_most_three_classes_are_named():
    given = tuple(OfClass(str(right), right, 10) for right in range(9))
    assert [one.name for one in worst_classes(given)] == ["0", "1", "2"]


def test_confidence_below_accuracy_is_under_confidence(facts):
    last = row(DISTILLED, "MLP", 0.85, confidence=0.8)
    card = model_card(
        replace(facts, report=replace(facts.report, rows=[*facts.report.rows[:2], last]))
    )
    assert "under-confident" in card
    assert "over-confident" not in card


def test_what_the_student_was_not_trained_on_is_told(facts):
    told = model_card(replace(facts, left_out=("star",), num_seen=600))
    assert "1,000 samples, of which the student was trained on 600" in told
    assert "It was not trained on star." in told


def test_weights_that_the_teacher_began_with_are_told(facts):
    told = model_card(replace(facts, starts_from="all-MiniLM-L6-v2"))
    assert "Teacher: CNN channels=[32]; its first weights: all-MiniLM-L6-v2" in told


def test_a_file_that_could_not_be_made_is_told_with_the_reason(facts):
    told = model_card(replace(facts, not_made={"student.onnx": "no operator for Bessel"}))
    assert "- `student.onnx` could not be made: no operator for Bessel" in told


def test_of_many_classes_the_first_are_named(facts):
    names = tuple(f"c{number}" for number in range(52))
    told = model_card(replace(facts, info=replace(INFO, num_classes=52, class_names=names)))
    assert "c18, c19 and 32 more" in told


def test_inputs_of_token_ids_have_a_vocabulary_and_no_range(facts):
    info = replace(INFO, input_shape=(12,), mean=(), std=(), vocabulary_size=2000)
    told = model_card(replace(facts, info=info, value_range=None))
    assert "(N, 12) int64 token ids below 2,000, 0 being padding" in told
    assert "normalises" not in told


def test_items_are_told_by_their_places(facts):
    found = Ranking(0.4, 0.25, 0.5, 0.61, None)
    ranked = [replace(one, scores=replace(one.scores, ranking=found)) for one in facts.report.rows]
    report = replace(facts.report, rows=ranked, validation=scores(0.1, ranking=found))
    info = replace(INFO, input_shape=(8,), mean=(), std=(), vocabulary_size=4, ranks_items=True)
    told = sections(model_card(replace(facts, info=info, report=report, classes=())))
    assert "Ranks 3 items by what a user had last" in told["Intended use"]
    assert "has NDCG@10 0.2500." in told["Quantitative analyses"]
    assert (
        "HR@10 of the student: 0.61 where the next item is popular" in told["Quantitative analyses"]
    )
    assert "least often" not in told["Quantitative analyses"]
    assert "one for each item" in told["Model details"]


def test_compressed_networks_are_listed_and_are_not_the_model(facts):
    file = Weights("run9", "quantize_onnx.onnx", "e" * 64)
    one = Variant(
        of=DISTILLED,
        steps=["quantize_onnx"],
        runtime="ONNX Runtime",
        is_int8=True,
        file=file,
        scores=scores(0.84),
        agreement=0.9,
        kl_to_teacher=0.1,
        parameters=19_210,
        macs=18_944,
        file_bytes=512,
        latency_ms=0.1,
        validation=scores(0.86),
        difference=None,
        seconds=1.0,
    )
    told = model_card(replace(facts, report=replace(facts.report, variants=[one])))
    assert "This model is the student before compression." in told
    assert "student distilled + quantize_onnx: `quantize_onnx.onnx` of run run9" in told
    assert "| student distilled + quantize_onnx | 0.84 |" in told
