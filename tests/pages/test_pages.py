"""Sections of the report, made of a hand-off alone."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from distill_lab.measure.classes import ClassChange
from distill_lab.measure.cost import Cost
from distill_lab.measure.fidelity import Agreement, Fidelity
from distill_lab.measure.intervals import Interval
from distill_lab.measure.paired import Discordant
from distill_lab.measure.scores import Scores
from distill_lab.measure.selective import Selective
from distill_lab.pages.differences import against_control, differences
from distill_lab.pages.fidelity import fidelity
from distill_lab.pages.robustness import robustness
from distill_lab.report.html import page
from distill_lab.stages.examined import (
    Certainty,
    Curve,
    Faithfulness,
    LayerSimilarity,
    Memorised,
    PairedTest,
    Robustness,
    SplitFidelity,
)
from distill_lab.stages.handoffs import from_plain, to_plain
from distill_lab.stages.report_handoff import CONTROL, DISTILLED, TEACHER, Report, Row

NETWORKS = (TEACHER, CONTROL, DISTILLED)


def certainty(name):
    curve = Selective([0.5, 1.0], [1.0, 0.9], 0.02)
    return Certainty(name, Interval(0.85, 0.95), 0.04, curve)


FAITHFUL = Faithfulness(
    [
        SplitFidelity(split, 100, Fidelity(0.96, 0.1), Fidelity(0.9, 0.5))
        for split in ("train", "validation", "test")
    ],
    [
        Agreement(DISTILLED, TEACHER, 0.94, 0.81),
        Agreement(DISTILLED, CONTROL, 0.92, 0.79),
        Agreement(TEACHER, CONTROL, 0.88, 0.8),
    ],
    Discordant(9, 1),
    Interval(0.01, 0.09),
    [LayerSimilarity(name, ["a"], ["x", "y"], [[0.5, 0.75]]) for name in (CONTROL, DISTILLED)],
    256,
    [],
)
ROBUST = Robustness(
    [certainty(name) for name in NETWORKS],
    Interval(-0.01, 0.05),
    Interval(0.97, 1.01),
    [
        PairedTest(DISTILLED, CONTROL, Discordant(5, 2)),
        PairedTest(DISTILLED, TEACHER, Discordant(1, 12)),
    ],
    1000,
    [ClassChange("cat", 40, 38, 30, 31, 8, 1), ClassChange("dog", 40, 30, 30, 33, 0, 3)],
    1,
    1,
    [Curve(name, "blur", [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]) for name in NETWORKS],
    100,
    "",
)


def report(faithful=FAITHFUL, robust=ROBUST):
    scores, cost = Scores(0.9, 0.3, 0.1, 0.02, 0.91, 36), Cost(10, 20, 40, 1.0, 2.0, 0.5)
    rows = [Row(name, "net", scores, 1.0, 0.0, cost) for name in NETWORKS]
    found = {"faithfulness": faithful, "robustness": robust}
    return Report(rows, [], [], scores, "models:/m-1", 1.5, Fidelity(0.96, 0.1), None, **found)


def sections(one):
    return [*differences(one), *fidelity(one), *robustness(one)]


def words(found):
    return " ".join(text for section in found for text in section.text)


def test_a_report_that_was_stored_gives_the_same_page():
    one = report()
    again = from_plain(Report, json.loads(json.dumps(to_plain(one))))
    assert again == one
    assert page("t", sections(again)) == page("t", sections(one))


def test_a_report_that_has_not_looked_has_no_such_sections():
    old = report(faithful=None, robust=None)
    assert sections(old) == []
    assert against_control(old) == []


def test_networks_that_are_not_told_apart_are_not_called_better():
    (said,) = against_control(report())
    # 2 (1 + 7 + 21) / 2^7 = 0.453.
    assert said == (
        "Right in the student alone: 5; in the control alone: 2. McNemar's test: p = 0.45, "
        "so this test split does not tell the two apart."
    )


@pytest.mark.parametrize(("counts", "better"), [((9, 0), "student"), ((0, 9), "control")])
def test_who_is_called_better_has_a_test_to_show(counts, better):
    tests = [PairedTest(DISTILLED, CONTROL, Discordant(*counts)), ROBUST.tests[1]]
    (said,) = against_control(report(robust=replace(ROBUST, tests=tests)))
    # 2 / 2^9 = 0.0039.
    assert f"p = 0.0039, so the {better} is better by more than chance" in said


def test_intervals_are_named_in_the_unit_of_the_verdict():
    text = words(differences(report()))
    assert "keeps 97.0% to 101.0% of the teacher's accuracy" in text
    assert "gains -1.0 to +5.0 points over the control" in text


@pytest.mark.parametrize(
    ("ends", "meaning"),
    [
        ((0.01, 0.09), "the student follows its teacher more closely than its accuracy explains"),
        ((-0.01, 0.09), "this test split does not tell the two apart"),
        ((-0.09, -0.01), "the student follows its teacher less closely than a network does"),
    ],
)
def test_what_the_agreement_means_follows_from_its_interval(ends, meaning):
    text = words(fidelity(report(replace(FAITHFUL, excess=Interval(*ends)))))
    assert meaning in text
    assert "would agree on 81.0%" in text
    # 0.94 of 0.81, and 0.88 of 0.80.
    assert "by 13.0 points beyond that, the control by 8.0" in text
    assert f"{100 * ends[0]:+.1f} to {100 * ends[1]:+.1f} points (95 %)" in text


def test_a_control_that_is_the_teacher_is_not_called_independent():
    same = SplitFidelity("test", 100, Fidelity(0.96, 0.1), Fidelity(1.0, 0.0))
    text = words(fidelity(report(replace(FAITHFUL, by_split=[same]))))
    assert "The control is the teacher itself" in text
    assert "McNemar" not in text


def test_each_student_has_a_map_of_its_layers():
    layers = next(one for one in fidelity(report()) if one.heading.startswith("Layers"))
    captions = [caption for _, caption in layers.figures]
    assert captions == [f"Of the {CONTROL}.", f"Of the {DISTILLED}."]


def test_wrong_labels_are_told_of_where_there_were_some():
    memorised = [Memorised(name, 20, 4, 12) for name in (CONTROL, DISTILLED)]
    found = fidelity(report(replace(FAITHFUL, memorised=memorised)))[-1]
    assert found.heading == "Wrong labels"
    assert [row["says the wrong label"] for row in found.tables[0]] == [4, 4]
    assert "Wrong labels" not in [one.heading for one in fidelity(report())]


def test_the_mean_of_a_corruption_leaves_out_the_inputs_as_they_are():
    found = next(one for one in robustness(report()) if one.heading == "On worse inputs")
    (rows,) = found.tables
    assert rows[0]["as they are"] == 0.9
    assert rows[0]["blur"] == rows[0]["mean"] == pytest.approx(0.6)


def test_it_is_said_why_no_input_was_corrupted():
    none = replace(ROBUST, curves=[], num_corrupted=0, not_corrupted="a reason")
    assert "Not measured: a reason." in words(robustness(report(robust=none)))


def test_classes_are_listed_with_their_counts_and_their_own_test():
    found = robustness(report())[-1]
    lost, won = found.tables[0]
    assert (lost["class"], lost["change"], won["change"]) == ("cat", "-7", "+3")
    assert lost["p"] == pytest.approx(2 * (1 + 9) / 2**9)
    assert "1 lost right test samples and 1 won some" in words([found])


def test_where_no_class_changed_none_are_listed():
    found = robustness(report(robust=replace(ROBUST, classes=[])))
    assert "Classes lost and won" not in [one.heading for one in found]


def test_what_was_found_is_logged_in_a_few_numbers():
    metrics = report().metrics
    assert (metrics["test/accuracy_low"], metrics["test/accuracy_high"]) == (0.85, 0.95)
    assert (metrics["test/gain_low"], metrics["test/gain_high"]) == (-0.01, 0.05)
    assert metrics["test/gain_p_value"] == pytest.approx(58 / 128)
    assert (metrics["val/agreement"], metrics["val/kl_to_teacher"]) == (0.96, 0.1)
    assert metrics["test/agreement_control"] == 0.88  # of control and teacher
    assert metrics["test/agreement_with_control"] == 0.92  # of student and control
    assert (metrics["test/adaptive_ece"], metrics["test/aurc"]) == (0.04, 0.02)
    for end in ("", "_control", "_teacher"):
        assert metrics[f"test/corrupted_accuracy{end}"] == pytest.approx(0.6)


def test_of_a_report_that_has_not_looked_nothing_of_it_is_logged():
    old = report(faithful=None, robust=None).metrics
    assert not {"test/gain_low", "val/agreement", "test/aurc"} & set(old)
