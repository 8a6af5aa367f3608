"""What chance could have done: an interval for each number, a test for each comparison."""

from __future__ import annotations

from distill_lab.measure.paired import Discordant
from distill_lab.report.html import Section
from distill_lab.report.tables import Cell
from distill_lab.stages.examined import PairedTest, Robustness
from distill_lab.stages.report_handoff import CONTROL, DISTILLED, TEACHER, Report


def against_control(report: Report) -> list[str]:
    """Return one sentence on student and control, with its test; none if it was not made."""
    if report.robustness is None:
        return []
    return [_said(report, report.robustness, CONTROL)]


def differences(report: Report) -> list[Section]:
    """Return the section on intervals and tests; none for a report that has not looked."""
    found = report.robustness
    if found is None:
        return []
    quality = report.validation.compared_by.label
    rows: list[dict[str, Cell]] = [
        {
            "": one.network,
            f"test {quality}": report.row(one.network).scores.quality,
            "lower end": one.quality.low,
            "upper end": one.quality.high,
        }
        for one in found.certainties
    ]
    return [
        Section(
            "What chance could have done",
            text=(
                f"Intervals of 95 %: the test samples are drawn anew {found.num_resamples:,} "
                "times, with replacement, the same ones for all networks, and the middle 95 % of "
                "the results are kept. That is the chance in the samples; that of the training "
                "is seen by other seeds alone.",
                f"The student keeps {found.kept.low:.1%} to {found.kept.high:.1%} of the teacher's "
                f"{quality}, and gains {100 * found.gain.low:+.1f} to {100 * found.gain.high:+.1f} "
                "points over the control.",
                *(_said(report, found, other) for other in (CONTROL, TEACHER)),
            ),
            tables=(rows, [_tested(one) for one in found.tests]),
        )
    ]


def _said(report: Report, found: Robustness, other: str) -> str:
    """Say whether the student and another network can be told apart."""
    test = found.against(other)
    counts = f"Right in the student alone: {test.only_first:,}; in the {_name(other)} alone: "
    told = f"{counts}{test.only_second:,}{_hits(report)}. McNemar's test: {p_value(test.p_value)}, "
    if not test.tells_apart:
        return f"{told}so this test split does not tell the two apart."
    better = "student" if test.only_first > test.only_second else _name(other)
    return f"{told}so the {better} is better by more than chance in these samples explains."


def best_and_next(best: str, other: str, found: Discordant) -> str:
    """Say whether the best run on validation and the next one are told apart on the test split.

    Args:
        best: name of the one.
        other: of the next.
        found: the test of the best against the next.
    """
    told = (
        f"Against the next, {other}, on the test split: right in the best alone "
        f"{found.only_first:,}, in the next alone {found.only_second:,}; McNemar's test: "
        f"{p_value(found.p_value)}"
    )
    if not found.tells_apart:
        return f"{told}. The two are not told apart: that {best} is the better is not shown."
    better = best if found.only_first > found.only_second else other
    return f"{told}. On these samples {better} is better by more than chance explains."


def p_value(value: float) -> str:
    """Write a p-value.

    >>> p_value(0.0312), p_value(0.00002)
    ('p = 0.031', 'p < 0.001')
    """
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def _tested(one: PairedTest) -> dict[str, Cell]:
    return {
        "first": one.first,
        "second": one.second,
        "only the first is right": one.found.only_first,
        "only the second is right": one.found.only_second,
        "p": one.found.p_value,
    }


def _hits(report: Report) -> str:
    ranked = report.row(DISTILLED).scores.ranking is not None
    return " (right: the next item is among the first ten)" if ranked else ""


def _name(row: str) -> str:
    return {CONTROL: "control", TEACHER: "teacher"}[row]
