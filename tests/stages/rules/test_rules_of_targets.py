from __future__ import annotations

import pytest

from distill_lab.stages.rules.targets import smoothing, softer, temperature


@pytest.mark.parametrize(
    ("given", "span", "expected"),
    [
        ("4", (2.0, 8.0), "2"),
        ("3", (2.0, 8.0), "8"),
        ("20", (2.0, 8.0), "4"),
        ("4", (8.0, 8.0), "8"),
    ],
)
def test_another_temperature_of_the_range_is_proposed(asked, given, span, expected):
    found = asked(temperature, f"temperature.value={given}", span=span, scan=(1.0, 32.0))
    assert found == [f"temperature.value={expected}"]


@pytest.mark.parametrize("edge", [1.0, 16.0])
def test_one_temperature_at_the_edge_of_the_scan_proposes_nothing(asked, edge):
    assert asked(temperature, span=(edge, edge)) is None


def test_a_temperature_that_is_tried_is_not_proposed(asked):
    assert asked(temperature, span=(4.0, 4.0)) is None


@pytest.mark.parametrize("rule", [temperature, softer])
@pytest.mark.parametrize("overrides", ["loss=[ce]", "temperature=linear"])
def test_no_temperature_is_proposed_where_none_is_read_or_it_changes(asked, rule, overrides):
    assert asked(rule, overrides, span=(8.0, 16.0), scan=(1.0, 32.0), confidence=0.99) is None


def test_an_over_confident_student_is_told_softer_answers(asked):
    assert asked(softer, student=0.9, confidence=0.951) == ["temperature.value=8"]
    assert asked(softer, student=0.9, confidence=0.949) is None


def test_a_temperature_beyond_the_scan_of_stage_2_is_not_proposed(asked):
    assert asked(softer, student=0.9, confidence=0.99, scan=(1.0, 7.0)) is None


def test_labels_of_an_over_confident_student_are_smoothed(asked):
    expected = ["loss=[label_smoothing,kd]", "loss.label_smoothing.weight=0.25"]
    found = asked(smoothing, "loss.ce.weight=0.25", student=0.9, confidence=0.951)
    assert found == expected


def test_an_under_confident_student_is_not_told_to_smooth(asked):
    assert asked(smoothing, student=0.9, confidence=0.7) is None


@pytest.mark.parametrize("loss", ["loss=[label_smoothing,kd]", "loss=[kd]"])
def test_labels_that_are_smooth_or_not_there_are_not_smoothed(asked, loss):
    assert asked(smoothing, loss, student=0.9, confidence=0.99) is None


def test_a_term_with_a_schedule_of_its_own_is_not_replaced(asked):
    given = "weighting.schedules={ce: {stop: 5}}"
    assert asked(smoothing, given, student=0.9, confidence=0.99) is None
