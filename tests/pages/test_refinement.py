from __future__ import annotations

import math

from distill_lab.pages.refinement import figure, sections
from distill_lab.report.html import page
from distill_lab.stages.lineage import Lineage, Round, Standing


def made(number, quality, is_better=False):
    standing = None if quality is None else Standing("net", quality, 0.01, 10, 10, 2048)
    why = "" if number == 0 else f"rule {number}."
    parent = None if number == 0 else 0
    return Round(
        number, f"round {number}", parent, why, ["seed=1"], "something" * is_better, 60.0,
        run_id=f"run-{number}", standing=standing, is_better=is_better, test_quality=0.123,
    )  # fmt: skip


LINEAGE = Lineage(
    "accuracy", [made(0, 0.8), made(1, None), made(2, 0.9, True), made(3, 0.7)], "Enough."
)


def test_the_curve_of_the_best_stays_where_a_round_brings_nothing():
    best, each = (line.get_ydata().tolist() for line in figure(LINEAGE).axes[0].get_lines())
    assert best == [0.8, 0.8, 0.9, 0.9]
    assert [each[0], *each[2:]] == [0.8, 0.9, 0.7]
    assert math.isnan(each[1])


def test_the_section_says_who_is_best_why_it_stopped_and_by_what_rule():
    (section,) = sections(LINEAGE)
    told, rule = section.text
    assert told == "The best of 4 runs is round 2 (run-2). Enough."
    assert "The test split has no say." in rule
    assert "0.5 standard errors" in rule


def test_the_table_has_a_line_per_round_with_its_reason_and_no_number_of_the_test_split():
    (section,) = sections(LINEAGE)
    (table,) = section.tables
    assert [row["why"] for row in table] == ["", "rule 1.", "rule 2.", "rule 3."]
    assert [row["from"] for row in table] == [None, 0, 0, 0]
    assert not [name for name in table[0] if "test" in name]
    assert "0.123" not in page("A refinement", [section])
