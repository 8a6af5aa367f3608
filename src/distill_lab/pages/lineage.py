"""Which network comes from which, with the runs where their weights are."""

from __future__ import annotations

from distill_lab.pages.story import Story
from distill_lab.report.html import Section
from distill_lab.report.tables import Row as Line
from distill_lab.stages.report_handoff import CONTROL, DISTILLED, TEACHER


def lineage(story: Story) -> list[Section]:
    """Return teacher, student and compressed networks, each with what it was made of."""
    report = story.report
    by = report.validation.compared_by.label
    rows: list[Line] = []

    def add(name: str, made_of: str, run_id: str, validation: float, test: float) -> None:
        line = {"": name, "made of": made_of, f"val {by}": validation, f"test {by}": test}
        rows.append({**line, "run": story.link(run_id)})

    for number, one in enumerate(story.teacher.kept):
        name = TEACHER if not number else f"{TEACHER} {number + 1}"
        tested = report.row(name).scores.quality
        add(name, one.label, one.weights.run_id, one.scores.quality, tested)
    taught = {
        CONTROL: (story.control, "labels"),
        DISTILLED: (story.student, f"{_taught_by(story)}: {_terms(story)}"),
    }
    for name, (trained, how) in taught.items():
        tested = report.row(name).scores.quality
        made_of = f"{trained.label}, trained on {how}"
        add(name, made_of, trained.weights.run_id, trained.scores.quality, tested)
    for variant in report.variants:
        before = [variant.of, *variant.steps[:-1]]
        made_of = f"{' + '.join(before)}, then {variant.steps[-1]}"
        run_id = variant.file.run_id
        add(variant.name, made_of, run_id, variant.validation.quality, variant.scores.quality)
    return [Section("Lineage", tables=(rows,))]


def _taught_by(story: Story) -> str:
    return "what its teachers say" if len(story.teacher.kept) > 1 else "what its teacher says"


def _terms(story: Story) -> str:
    return " + ".join(f"{term.weight:g} x {term.name}" for term in story.loss.terms)
