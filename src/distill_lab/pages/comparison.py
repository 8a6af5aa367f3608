"""Several runs side by side: which is best, what differs, what each keeps and costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten

from matplotlib.figure import Figure
from torch import Tensor

from distill_lab.measure.paired import Discordant, mcnemar
from distill_lab.pages.differences import best_and_next
from distill_lab.pages.story import Story
from distill_lab.pages.trade_off import COSTS, kept_against
from distill_lab.report import plots
from distill_lab.report.html import Section
from distill_lab.report.tables import Row
from distill_lab.stages.report_handoff import DISTILLED, TEACHER, compare

MAX_CURVES = 6  # as many as there are colours
NAME_WIDTH = 40  # characters of a curve's name


@dataclass(frozen=True)
class Compared:
    """One of the runs.

    Attributes:
        name: tells it from the others.
        curve: quality on validation after each epoch.
        right: (N,) bool, the test samples that the student is right on; None: not kept.
        checksum: of the data; only runs on the same have the same test samples.
    """

    name: str
    story: Story
    curve: Sequence[float]
    right: Tensor | None
    checksum: str


def comparison(runs: Sequence[Compared], differing: Sequence[Row]) -> list[Section]:
    """Return the page of runs, the best on validation first.

    Args:
        runs: in any order.
        differing: one row per key of the config that is not the same in all runs.
    """
    ranked = sorted(runs, key=lambda one: -one.story.report.validation.quality)
    names = {one.story.report.data.name for one in runs}
    checksums = {one.checksum for one in runs}
    by = ranked[0].story.report.validation.compared_by.label
    best = (
        f"The best on validation is {ranked[0].name}. The test split made no choice; p is of "
        "McNemar's test against that run, on the test samples that one of the two alone has right "
        "(of items: where the next is among the first ten), not adjusted for how many runs there "
        "are. Runs of several seeds tell more than one test split does."
    )
    apart = (
        f"They are on different data ({', '.join(sorted(names))}, {len(checksums)} checksums): "
        "their numbers are not alike."
    )
    return [
        Section(
            f"By validation {by}",
            text=(best, *_next(ranked), *([apart] if len(checksums) > 1 else [])),
            tables=([{**_line(one), **_against(one, ranked[0])} for one in ranked],),
        ),
        Section("What differs", tables=(differing,)),
        Section("Pareto front", figures=_trade_offs(ranked, by)),
        Section("Training", figures=_curves(ranked, by)),
    ]


def _line(one: Compared) -> Row:
    report = one.story.report
    student, by = report.row(DISTILLED), report.validation.compared_by.label
    found = compare(report.rows)
    return {
        "": one.name,
        "run": one.story.link(one.story.run_id),
        f"val {by}": report.validation.quality,
        f"test {by}": student.scores.quality,
        "of its teacher's": found.accuracy_kept,
        "points over control": 100 * found.gain,
        "agreement": student.agreement,
        "ECE": student.scores.ece,
        "parameters": student.cost.parameters,
        "MACs": student.cost.macs,
        "latency ms": student.cost.latency_ms,
        "KiB on disk": None if student.file_bytes is None else student.file_bytes / 1024,
    }


def _next(ranked: Sequence[Compared]) -> list[str]:
    """Return one sentence on whether the best is told apart from the next; none without a test."""
    best, other = ranked[:2]
    found = _test(other, best)
    return [] if found is None else [best_and_next(best.name, other.name, found)]


def _test(one: Compared, best: Compared) -> Discordant | None:
    """Test the best against a run, where both answered the same samples."""
    same = one.checksum == best.checksum and one is not best
    if not same or one.right is None or best.right is None:
        return None
    return mcnemar(best.right, one.right)


def _against(one: Compared, best: Compared) -> Row:
    """Return the test of a run against the best, as cells."""
    found = _test(one, best)
    if found is None:
        return {"only the best right": None, "only this right": None, "p": None}
    return {
        "only the best right": found.only_first,
        "only this right": found.only_second,
        "p": found.p_value,
    }


def _trade_offs(ranked: Sequence[Compared], by: str) -> tuple[tuple[Figure, str], ...]:
    students: list[dict[str, object]] = [{**_line(one)} for one in ranked]
    teachers = {}
    for one in ranked:
        row = one.story.report.row(TEACHER)
        teachers[one.story.teacher.best.weights.sha256] = {
            "": f"teacher of {one.name}",
            f"test {by}": row.scores.quality,
            "MACs": row.cost.macs,
            "latency ms": row.cost.latency_ms,
            "KiB on disk": None if row.file_bytes is None else row.file_bytes / 1024,
        }
    rows = [*students, *teachers.values()]
    figures = ((cost, kept_against(rows, f"test {by}", cost, ranked[0].name)) for cost in COSTS)
    return tuple((drawn, f"Students and teachers, by {cost}.") for cost, drawn in figures if drawn)


def _curves(ranked: Sequence[Compared], by: str) -> tuple[tuple[Figure, str], ...]:
    shown: Mapping[str, Sequence[float]] = {
        shorten(f"{place}. {one.name}", NAME_WIDTH, placeholder=" ..."): one.curve
        for place, one in enumerate(ranked[:MAX_CURVES], 1)
    }
    length = max(map(len, shown.values()))
    if not length:
        return ()
    epochs = [float(number + 1) for number in range(length)]
    padded = {name: [*curve, *[math.nan] * (length - len(curve))] for name, curve in shown.items()}
    figure = plots.lines(epochs, padded, "", "epoch", f"validation {by}")
    fewer = f" of the best {MAX_CURVES} of {len(ranked)}" if len(ranked) > MAX_CURVES else ""
    return ((figure, f"Students while they were trained{fewer}."),)
