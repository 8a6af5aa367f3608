"""What the stages before the last one found, by the tables and pictures that they kept."""

from __future__ import annotations

from distill_lab.pages.story import Story
from distill_lab.report.html import Section


def training(story: Story) -> list[Section]:
    """Return the curves of student and control."""
    both = (("control", story.control), ("student", story.student))
    text = " ".join(
        f"The {name} was trained for {one.epochs} epochs in {one.seconds:.3g} seconds, and kept as "
        f"it was after epoch {one.kept_epoch}."
        for name, one in both
    )
    figures = story.shown(
        ("5 train", "training_loss.png", "Loss terms of the student, as they are before weights."),
        ("5 train", "validation.png", "The student on the validation split."),
        ("5 control", "training_loss.png", "Loss of the control."),
        ("5 control", "validation.png", "The control on the validation split."),
    )
    return [Section("Training", text=(text,), figures=figures)]


def loss_terms(story: Story) -> list[Section]:
    """Return the terms as they were weighed before the training."""
    return [Section("Loss terms", tables=(story.loss.table,))]


def knowledge(story: Story) -> list[Section]:
    """Return what is known of the teacher's layers and soft targets."""
    probes = [
        {"teacher layer": tap, "accuracy of a linear probe": value}
        for tap, value in story.knowledge.probe_accuracy.items()
    ]
    figures = story.shown(
        ("2 knowledge", "softness.png", "Soft targets by temperature; the proposed range is grey."),
        ("2 knowledge", "cka.png", "How alike layers are, of a student after a few epochs."),
    )
    return [Section("What the teacher knows", tables=(probes,), figures=figures)]


def teachers(story: Story) -> list[Section]:
    """Return the leaderboard of stage 1."""
    rows = story.tables.get(("1 teacher", "leaderboard.csv"), [])
    figures = story.shown(("1 teacher", "curves.png", "Teachers on the validation split."))
    return [Section("Teachers", text=(story.teacher.headline,), tables=(rows,), figures=figures)]


def student_candidates(story: Story) -> list[Section]:
    """Return the students that stage 3 measured, and which it picked."""
    rows = story.tables.get(("3 student", "candidates.csv"), [])
    figures = story.shown(("3 student", "pareto.png", "Students by what they cost."))
    return [Section("Students", text=(story.design.headline,), tables=(rows,), figures=figures)]
