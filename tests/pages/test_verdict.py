from __future__ import annotations

from distill_lab.measure.cost import Cost
from distill_lab.measure.fidelity import Fidelity
from distill_lab.measure.scores import Scores
from distill_lab.pages.left_out import left_out_classes
from distill_lab.pages.trade_off import kept_against
from distill_lab.pages.verdict import summary
from distill_lab.stages.report_handoff import CONTROL, DISTILLED, TEACHER, Report, Row


def report(teacher=0.8, control=0.7, student=0.76):
    def row(name, accuracy, parameters, macs):
        scores = Scores(accuracy, 0.1, 0.1, 0.0, accuracy, 1)
        return Row(name, "MLP", scores, 1.0, 0.0, Cost(parameters, macs, 400, 2.0, 2.0, 1.0))

    rows = [
        row(TEACHER, teacher, 200, 1000),
        row(CONTROL, control, 50, 100),
        row(DISTILLED, student, 50, 100),
    ]
    validation = Scores(0.9, 0.1, 0.1, 0.0, 0.9, 1)
    return Report(rows, [], [], validation, "m", 1.0, Fidelity(1.0, 0.0), None)


def test_the_summary_has_the_shares_worked_by_hand():
    assert summary(report()) == (
        "The student has a test accuracy of 0.7600: 95.0% of its teacher's 0.8000, with 25.0% of "
        "its parameters and 10.0% of its multiply-accumulates. It is 6.00 points above the same "
        "student without a teacher, 0.7000."
    )


def test_a_student_that_lost_is_said_to_be_below():
    assert "It is 2.00 points below the same student" in summary(report(student=0.68))


def test_a_student_that_did_not_gain_is_said_to_be_level():
    assert "It is level with the same student" in summary(report(student=0.7))


def test_a_plot_needs_two_networks_of_known_cost():
    rows = [{"": "a", "acc": 0.9, "cost": 2.0}, {"": "b", "acc": 0.8, "cost": None}]
    assert kept_against(rows, "acc", "cost", "a") is None
    rows.append({"": "c", "acc": 0.7, "cost": 1.0})
    figure = kept_against(rows, "acc", "cost", "a")
    assert [text.get_text() for text in figure.axes[0].texts] == ["c", "a"]


def test_no_section_where_no_class_was_left_out():
    assert left_out_classes(report()) == []
