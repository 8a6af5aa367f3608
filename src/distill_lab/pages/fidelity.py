"""How closely the student follows its teacher, and how much of that is mere accuracy."""

from __future__ import annotations

from distill_lab.pages.differences import p_value
from distill_lab.report import grids
from distill_lab.report.html import Section
from distill_lab.report.tables import Cell
from distill_lab.stages.examined import Faithfulness, LayerSimilarity
from distill_lab.stages.report_handoff import CONTROL, DISTILLED, TEACHER, Report


def fidelity(report: Report) -> list[Section]:
    """Return the sections on answers, layers and wrong labels; none where it was not looked at."""
    found = report.faithfulness
    if found is None:
        return []
    return [_of_answers(found, _caveats(report)), _of_layers(found), *_of_labels(found)]


def _caveats(report: Report) -> list[str]:
    """Say where the teacher is one of several, or the control is no stranger to it."""
    several = sum(row.name.startswith(TEACHER) for row in report.rows) > 1
    said = []
    if several:
        said.append("The teacher is the best of those that taught the student, here as elsewhere.")
    if report.data.shares_teacher:
        said.append(
            "Student and control began with weights of the teacher, so the control is no "
            "independent student: what both owe to that is not seen in their difference."
        )
    return said


def _of_answers(found: Faithfulness, caveats: list[str]) -> Section:
    by_split: list[dict[str, Cell]] = [
        {
            "": one.split,
            "samples": one.num_samples,
            "agreement of student": one.student.agreement,
            "agreement of control": one.control.agreement,
            "KL of student": one.student.kl_to_teacher,
            "KL of control": one.control.kl_to_teacher,
        }
        for one in found.by_split
    ]
    pairs: list[dict[str, Cell]] = [
        {
            "": f"{one.first} and {one.second}",
            "agreement on test": one.agreement,
            "if independent": one.if_independent,
        }
        for one in found.pairs
    ]
    return Section(
        "Does the student follow its teacher?",
        text=(*fidelity_in_words(found), *caveats),
        tables=(pairs, by_split),
    )


def fidelity_in_words(found: Faithfulness) -> list[str]:
    """Say whether the student agrees with its teacher by more than its accuracy explains."""
    student, control = (found.between(*one) for one in ((DISTILLED, TEACHER), (TEACHER, CONTROL)))
    if found.on("test").control.kl_to_teacher == 0:
        return [
            "The control is the teacher itself: the same network with the same seed and regime, so "
            f"it is no independent student. Student and teacher agree on {student.agreement:.1%} "
            f"of the test split; of independent networks it would be {student.if_independent:.1%}. "
            "Another seed, e.g. selection.seeds=[1], makes them two."
        ]
    test, where = found.closer, found.excess
    beyond = [100 * (one.agreement - one.if_independent) for one in (student, control)]
    if where.low > 0:
        meaning = "the student follows its teacher more closely than its accuracy explains."
    elif where.high < 0:
        meaning = (
            "the student follows its teacher less closely than a network does that has never seen "
            "it. Whatever it gains, it does not gain by giving the same answers."
        )
    else:
        meaning = (
            "this test split does not tell the two apart. By its answers, the student is not seen "
            "to follow its teacher more closely than its accuracy brings; the KL below is of the "
            "probabilities behind the answers."
        )
    return [
        f"Student and teacher give the same answer on {student.agreement:.1%} of the test split, "
        f"and the control, the same student without a teacher, on {control.agreement:.1%}. Only "
        f"the student gives the teacher's answer on {test.only_first:,} samples, only the control "
        f"on {test.only_second:,} (McNemar's test: {p_value(test.p_value)}).",
        "Networks that are right more often agree more often. Two with nothing else in common "
        f"would agree on {student.if_independent:.1%} at the accuracies of student and teacher, "
        f"and on {control.if_independent:.1%} at those of control and teacher. The student agrees "
        f"by {beyond[0]:.1f} points beyond that, the control by {beyond[1]:.1f}. The difference "
        f"lies within {100 * where.low:+.1f} to {100 * where.high:+.1f} points (95 %): {meaning}",
    ]


def _of_layers(found: Faithfulness) -> Section:
    return Section(
        "Layers against the teacher's",
        text=(
            f"Linear CKA on {found.num_layer_samples:,} test samples: 1 where two layers tell the "
            "samples apart in the same way, up to rotation and scale. Layers with more numbers "
            "than samples look more alike than they are, so compare the two pictures, not a "
            "picture with 1: what is darker in the student's came with the teacher.",
        ),
        figures=tuple((_heat_map(one), f"Of the {one.network}.") for one in found.layers),
    )


def _heat_map(one: LayerSimilarity) -> grids.Figure:
    return grids.heat_map(
        one.cka, one.layers, one.teacher_layers, one.network, "its layer", "teacher's layer"
    )


def _of_labels(found: Faithfulness) -> list[Section]:
    if not found.memorised:
        return []
    rows: list[dict[str, Cell]] = [
        {
            "": one.network,
            "samples with a wrong label": one.num_samples,
            "says the wrong label": one.given,
            "says the class itself": one.true,
        }
        for one in found.memorised
    ]
    text = (
        "Labels were made wrong on purpose (regime.label_noise). What the networks say of such "
        "samples that they were trained on: who learned by heart says the label, who learned the "
        "class says the class."
    )
    return [Section("Wrong labels", text=(text,), tables=(rows,))]
