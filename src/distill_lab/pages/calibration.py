"""Whether confidence is accuracy, and which class is taken for which."""

from __future__ import annotations

from distill_lab.report import grids
from distill_lab.report.html import Section
from distill_lab.stages.report_handoff import Report


def calibration(report: Report) -> list[Section]:
    """Return reliability diagram and confusion matrices, as far as the report has them."""
    sections = []
    diagrams = {row.name: row.reliability for row in report.rows if row.reliability is not None}
    if diagrams:
        shown = (grids.reliability_diagram(diagrams), "On the diagonal, confidence is accuracy.")
        sections.append(Section("Calibration", figures=(shown,)))
    matrices = {row.name: row.confusion for row in report.rows if row.confusion is not None}
    if matrices:
        figure = grids.confusion_matrices(matrices, report.data.class_names)
        shown = (figure, "Rows: true class; columns: said.")
        sections.append(Section("Confusion", figures=(shown,)))
    return sections
