"""What is known of a finished run, whole, as it lies in the store: pages are made of this alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from distill_lab.report.tables import Link, Row
from distill_lab.stages.handoffs import (
    ConnectedLoss,
    KnowledgeMap,
    StudentDesign,
    TeacherChoice,
    TrainedStudent,
)
from distill_lab.stages.report_handoff import Report


@dataclass(frozen=True)
class Story:
    """A workflow and its stages.

    Attributes:
        run_id: of the workflow.
        name: of its run.
        config: the resolved config, as YAML.
        command: what it was started by; "" where nobody typed one.
        environment: commit, versions and machine.
        origins: stage -> run that did its work, in this workflow or in one before.
        pictures: (stage, path) -> PNG that the stage kept.
        tables: (stage, path) -> rows that it kept as CSV.
        address: of a run in the MLflow UI, by its id.
    """

    run_id: str
    name: str
    config: str
    command: str
    environment: Mapping[str, str]
    origins: Mapping[str, str]
    teacher: TeacherChoice
    knowledge: KnowledgeMap
    design: StudentDesign
    loss: ConnectedLoss
    control: TrainedStudent
    student: TrainedStudent
    report: Report
    pictures: Mapping[tuple[str, str], bytes]
    tables: Mapping[tuple[str, str], list[Row]]
    address: Callable[[str], str]

    def link(self, run_id: str) -> Link:
        """Return a cell that leads to a run."""
        return Link(run_id[:8], self.address(run_id))

    def shown(self, *wanted: tuple[str, str, str]) -> tuple[tuple[bytes, str], ...]:
        """Return the pictures that are there, of (stage, path, caption) each."""
        return tuple(
            (self.pictures[stage, path], caption)
            for stage, path, caption in wanted
            if (stage, path) in self.pictures
        )
