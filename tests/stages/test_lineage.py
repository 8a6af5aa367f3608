from __future__ import annotations

from types import SimpleNamespace

import pytest

from distill_lab.measure.cost import Cost
from distill_lab.measure.scores import Scores
from distill_lab.stages.handoffs import from_plain, to_plain
from distill_lab.stages.lineage import (
    COMPUTE_SAVED,
    QUALITY_KEPT,
    SIZE,
    Lineage,
    Round,
    Standing,
    goals_met,
    improvement,
    noise,
    rows,
    standing,
    standing_of_teacher,
)
from distill_lab.stages.report_handoff import CONTROL, DISTILLED, TEACHER, Report

ALL = [QUALITY_KEPT, COMPUTE_SAVED, SIZE]
GOALS = SimpleNamespace(
    goal_accuracy_kept=0.95, goal_compute_saved=0.7, goal_parameters_fraction=0.4
)


def stands(quality=0.90, kib=100, macs=10, parameters=10):
    return Standing("net", quality, 0.01, macs, parameters, 1024 * kib)


def scores(accuracy):
    return Scores(accuracy, 0.1, 0.1, 0.0, accuracy, 1)


def report(*variants):
    def row(name, size):
        cost = Cost(size, 2 * size, 1, 1.0, 1.0, 1.0)
        return SimpleNamespace(name=name, cost=cost, file_bytes=4 * size, scores=scores(0.111))

    made = [row(TEACHER, 100), row(CONTROL, 30), row(DISTILLED, 30)]
    return SimpleNamespace(
        rows=made,
        row=lambda name: Report.row(SimpleNamespace(rows=made), name),
        validation=scores(0.9),
        variants=list(variants),
    )


def variant(of, quality):
    return SimpleNamespace(
        of=of, name=f"{of} + int8", macs=50, parameters=25, file_bytes=32,
        validation=scores(quality), scores=scores(0.222),
    )  # fmt: skip


def test_a_student_stands_by_its_validation_and_what_was_counted():
    assert standing(report(), 225) == Standing(DISTILLED, 0.9, 0.01, 60, 30, 120)


def test_of_a_compressed_student_the_last_variant_is_handed_out():
    made = report(variant(DISTILLED, 0.7), variant(DISTILLED, 0.8), variant(CONTROL, 0.6))
    found = standing(made, 100)
    assert found == Standing("student distilled + int8", 0.8, 0.02, 50, 25, 32)


def test_a_teacher_stands_by_its_scores_on_validation():
    assert standing_of_teacher(report(), scores(0.5), 100) == Standing(
        TEACHER, 0.5, 0.025, 200, 100, 400
    )


def test_noise_is_half_of_a_standard_error():
    assert noise(0.5, 100) == pytest.approx(0.025)  # sqrt(0.25 / 100) is 0.05
    assert noise(1.0, 100) == 0.0


@pytest.mark.parametrize(
    ("reached", "missed"),
    [
        (stands(0.95, macs=30, parameters=40), []),
        (stands(0.949, macs=30, parameters=40), [QUALITY_KEPT]),
        (stands(0.95, macs=31, parameters=40), [COMPUTE_SAVED]),
        (stands(0.95, macs=30, parameters=41), [SIZE]),
    ],
)
def test_each_goal_is_met_up_to_its_limit(reached, missed):
    teacher = stands(1.0, macs=100, parameters=100)
    assert goals_met(reached, teacher, GOALS) == [goal for goal in ALL if goal not in missed]


@pytest.mark.parametrize(
    ("new", "new_goals", "best_goals", "brought"),
    [
        (stands(0.901), ALL, ALL, "higher quality"),
        (stands(0.900), ALL, ALL, None),
        (stands(0.899), ALL, ALL, None),
        # a goal that is lost is paid for by more than the noise
        (stands(0.909), [QUALITY_KEPT], ALL, None),
        (stands(0.911), [QUALITY_KEPT], ALL, "higher quality"),
        # a goal that is won
        (stands(0.891), [SIZE], [], "meets the goal of size"),
        (stands(0.889), [SIZE], [], None),
        (stands(0.800), ALL, [QUALITY_KEPT], "meets the goal of compute saved and size"),
        (stands(0.800), [COMPUTE_SAVED, SIZE], [QUALITY_KEPT], None),
        (stands(0.895), [QUALITY_KEPT, SIZE], [QUALITY_KEPT, COMPUTE_SAVED], None),
        # a smaller file
        (stands(0.891, kib=90), ALL, ALL, "as good, in a file smaller by 10%"),
        (stands(0.891, kib=91), ALL, ALL, None),
        (stands(0.889, kib=50), ALL, ALL, None),
        (stands(0.891, kib=50), [], [SIZE], None),
    ],
)
def test_a_round_is_better_by_the_rule_that_is_stated(new, new_goals, best_goals, brought):
    assert improvement(new, new_goals, stands(), best_goals) == brought


def test_a_file_that_nobody_looked_at_is_not_smaller():
    unknown = Standing("net", 0.9, 0.01, 10, 10, None)
    assert improvement(unknown, ALL, stands(), ALL) is None
    assert improvement(stands(kib=1), ALL, unknown, ALL) is None


def made(number, parent=0, is_better=False, **more):
    return Round(
        number, f"round {number}", parent, "why", [], "", 60.0, is_better=is_better, **more
    )


def test_the_best_is_the_last_that_was_better_and_what_came_after_brought_nothing():
    first, better, worse = made(0, None), made(1, is_better=True), made(2, 1)
    assert Lineage("accuracy", [first]).best is first
    assert Lineage("accuracy", [first]).without_improvement == 0
    assert Lineage("accuracy", [first, better]).without_improvement == 0
    whole = Lineage("accuracy", [first, better, worse, made(3, 1)])
    assert (whole.best, whole.without_improvement) == (better, 2)


def test_a_lineage_is_read_back_as_it_was_kept():
    whole = Lineage("accuracy", [made(0, None, standing=stands(), goals=ALL), made(1)], "Enough.")
    assert from_plain(Lineage, to_plain(whole)) == whole


def test_a_round_that_failed_has_no_numbers_in_the_table():
    lines = rows(Lineage("accuracy", [made(0, None, standing=stands(), test_quality=0.8), made(1)]))
    first, failed = lines
    assert (first["val accuracy"], first["KiB on disk"], first["test accuracy"]) == (0.9, 100, 0.8)
    assert [failed[name] for name in ("from", "val accuracy", "KiB on disk", "goals met")] == [
        0, None, None, None,
    ]  # fmt: skip
    assert failed["minutes"] == 1.0
