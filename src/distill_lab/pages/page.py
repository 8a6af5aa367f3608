"""The report of one run: verdict first, then what it rests on, last how to have it again."""

from __future__ import annotations

from collections.abc import Sequence

from distill_lab.pages.calibration import calibration
from distill_lab.pages.cost import cost
from distill_lab.pages.differences import differences
from distill_lab.pages.fidelity import fidelity
from distill_lab.pages.left_out import left_out_classes
from distill_lab.pages.lineage import lineage
from distill_lab.pages.origins import how_to_rerun
from distill_lab.pages.proposals import next_configs
from distill_lab.pages.robustness import robustness
from distill_lab.pages.stages import knowledge, loss_terms, student_candidates, teachers, training
from distill_lab.pages.story import Story
from distill_lab.pages.trade_off import trade_off
from distill_lab.pages.variants import variants
from distill_lab.pages.verdict import verdict
from distill_lab.report.html import Section


def title(story: Story) -> str:
    """Return the heading of the page."""
    return f"{story.student.label} from {story.teacher.best.label}, on {story.report.data.name}"


def sections(story: Story, more: Sequence[Section] = ()) -> list[Section]:
    """Return the whole page.

    Args:
        story: of the run.
        more: on what the run is a part of; it stands after the verdict.
    """
    report = story.report
    return [
        *verdict(story),
        *more,
        *differences(report),
        *trade_off(report),
        *fidelity(report),
        *cost(report),
        *calibration(report),
        *robustness(report),
        *variants(report),
        *left_out_classes(report),
        *training(story),
        *loss_terms(story),
        *knowledge(story),
        *teachers(story),
        *student_candidates(story),
        *lineage(story),
        *next_configs(report),
        *how_to_rerun(story),
    ]
