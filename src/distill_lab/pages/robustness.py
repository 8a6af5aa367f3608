"""How far the numbers hold: where the networks are sure, on worse inputs, class by class."""

from __future__ import annotations

from distill_lab.measure.classes import ClassChange
from distill_lab.report import plots
from distill_lab.report.html import Section
from distill_lab.report.severities import severity_curves
from distill_lab.report.tables import Cell
from distill_lab.stages.examined import Curve, Robustness
from distill_lab.stages.report_handoff import Report


def robustness(report: Report) -> list[Section]:
    """Return the sections on certainty, corruptions and classes; none where it was not looked."""
    found = report.robustness
    if found is None:
        return []
    return [_of_certainty(report, found), _of_corruptions(report, found), *_of_classes(found)]


def _of_certainty(report: Report, found: Robustness) -> Section:
    rows: list[dict[str, Cell]] = []
    for one in found.certainties:
        scores = report.row(one.network).scores
        rows.append(
            {
                "": one.network,
                "accuracy": scores.accuracy,
                "mean confidence": scores.confidence,
                "ECE": scores.ece,
                "adaptive ECE": one.adaptive_ece,
                "NLL": scores.nll,
                "Brier": scores.brier,
                "AURC": one.selective.aurc,
            }
        )
    curves = {one.network: one.selective.accuracy for one in found.certainties}
    coverage = found.certainties[0].selective.coverage
    figure = plots.lines(coverage, curves, "Answering only when sure", "coverage", "accuracy")
    return Section(
        "How sure, and how rightly",
        text=(
            "ECE takes bins of equal width, adaptive ECE bins of equal size. AURC is the mean "
            "error rate over all shares of the samples that are answered, the surest first; lower "
            "is better in all of them.",
        ),
        tables=(rows,),
        figures=(
            (figure, "Accuracy of the most confident share; it ends in the accuracy of all."),
        ),
    )


def _of_corruptions(report: Report, found: Robustness) -> Section:
    if not found.curves:
        return Section("On worse inputs", text=(f"Not measured: {found.not_corrupted}.",))
    quality = report.validation.compared_by.label
    curves: dict[str, dict[str, list[float]]] = {}
    for one in found.curves:
        curves.setdefault(_shown(one), {})[one.network] = one.quality
    rows = [_means(found, network) for network in curves[_shown(found.curves[0])]]
    return Section(
        "On worse inputs",
        text=(
            f"Test {quality} on {found.num_corrupted:,} test samples, made worse at five "
            "severities; a column is the mean over the five. docs/evaluate.md says what each "
            "corruption does.",
        ),
        tables=(rows,),
        figures=((severity_curves(curves, f"test {quality}"), "Severity 0: as they are."),),
    )


def _means(found: Robustness, network: str) -> dict[str, Cell]:
    own = [one for one in found.curves if one.network == network]
    row: dict[str, Cell] = {"": network, "as they are": own[0].quality[0]}
    return row | {_shown(one): one.mean for one in own} | {"mean": found.corrupted(network)}


def _shown(one: Curve) -> str:
    return one.corruption.replace("_", " ")


def _of_classes(found: Robustness) -> list[Section]:
    if not found.classes:
        return []
    text = (
        f"From teacher to student, {found.num_lost} lost right test samples and {found.num_won} "
        "won some; those that changed most stand here. p is of "
        "McNemar's test on the class alone; of "
        "twenty classes that are as good as before, up to one is expected to show p < 0.05."
    )
    rows = [_changed(one) for one in found.classes]
    return [Section("Classes lost and won", text=(text,), tables=(rows,))]


def _changed(one: ClassChange) -> dict[str, Cell]:
    return {
        "class": one.name,
        "samples": one.num_samples,
        "teacher right": one.teacher_right,
        "control right": one.control_right,
        "student right": one.student_right,
        "change": f"{one.change:+d}",
        "only teacher right": one.only_teacher,
        "only student right": one.only_student,
        "p": one.p_value,
    }
