"""The first section: what was reached, in one sentence, in cards and in tables."""

from __future__ import annotations

from distill_lab.pages.differences import against_control
from distill_lab.pages.story import Story
from distill_lab.report.html import Goal as Card
from distill_lab.report.html import Section
from distill_lab.report.tables import Cell
from distill_lab.stages.report_handoff import (
    CONTROL,
    DISTILLED,
    TEACHER,
    Goal,
    Report,
    compare,
    table,
)


def verdict(story: Story) -> list[Section]:
    """Return the verdict on the distilled student, and the tables of all networks."""
    report = story.report
    sizes = ", ".join(f"{name} {count:,}" for name, count in report.data.num_samples.items())
    cards = tuple(Card(goal.name, goal.reached, _aim(goal), goal.met) for goal in report.verdict)
    return [
        Section(
            "Verdict",
            verdict=cards,
            text=(
                summary(report),
                *against_control(report),
                f"Loss: {story.loss.headline}. Samples: {sizes}.",
                *report.data.on_labels,
                "Measured on the test split, which no choice was made on. One seed: what "
                "another training would give is not known; sweep seed=0,1,2 for the spread.",
                "The control is the same student from the same initial weights under the same "
                "regime, trained with plain cross-entropy whatever the loss terms are"
                f"{_on(report)}.",
            ),
            tables=(
                columns(report, "accuracy", "agreement", "ECE", "NLL", "Brier", "KL to teacher"),
                *_of_ranking(report),
                columns(report, "parameters", "MACs", "KiB on disk", "peak MiB", "latency ms"),
            ),
        )
    ]


def _aim(goal: Goal) -> str:
    return f"{goal.aim}; 95 % interval {goal.span}" if goal.span else goal.aim


def summary(report: Report) -> str:
    """Return the run in two sentences."""
    teacher, control, student = (report.row(name) for name in (TEACHER, CONTROL, DISTILLED))
    found, quality = compare(report.rows), student.scores.compared_by.label
    points = f"{100 * abs(found.gain):.2f} points {'above' if found.gain > 0 else 'below'}"
    return (
        f"The student has a test {quality} of {student.scores.quality:.4f}: "
        f"{found.accuracy_kept:.1%} of its teacher's {teacher.scores.quality:.4f}, with "
        f"{found.parameters_fraction:.1%} of its parameters and {1 - found.compute_saved:.1%} of "
        f"its multiply-accumulates. It is {points if found.gain else 'level with'} the same "
        f"student without a teacher, {control.scores.quality:.4f}."
    )


def columns(report: Report, *names: str) -> list[dict[str, Cell]]:
    """Return some columns of the main table."""
    return [{"": row[""]} | {name: row[name] for name in names} for row in table(report)]


def _of_ranking(report: Report) -> list[list[dict[str, Cell]]]:
    names = [name for name in table(report)[0] if "@10" in name]
    return [columns(report, *names)] if names else []


def _on(report: Report) -> str:
    labels = report.data.num_labels
    return "" if labels is None else f", on the {labels:,} samples that have a label"
