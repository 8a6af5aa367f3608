"""Stage 6: teacher, control and student side by side on the test split; what is next."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

from matplotlib.figure import Figure
from torch import Tensor, nn

from distill_lab.contracts import Arrays, Parts
from distill_lab.measure.cost import measure_cost
from distill_lab.measure.fidelity import Fidelity, agreement, fidelity, kl_to_teacher
from distill_lab.measure.left_out import LeftOut, left_out_scores
from distill_lab.measure.scores import confusion, reliability, score
from distill_lab.models.deployed import Deployed
from distill_lab.report import grids, plots, tables
from distill_lab.report.html import Goal as Card
from distill_lab.report.html import Section, page
from distill_lab.report.tables import Cell
from distill_lab.settings import Evaluation
from distill_lab.stages.context import Context
from distill_lab.stages.handoffs import (
    Candidate,
    ConnectedLoss,
    KnowledgeMap,
    StudentDesign,
    TeacherChoice,
    TrainedStudent,
)
from distill_lab.stages.proposals import Evidence, propose
from distill_lab.stages.report_handoff import (
    CONTROL,
    DISTILLED,
    TEACHER,
    Goal,
    Proposal,
    Report,
    Row,
    Variant,
    compare,
    table,
)
from distill_lab.stages.retraining import Lesson, Origin
from distill_lab.stages.variant_report import of_variants
from distill_lab.stages.variants import Maker, beginnings

MOST_CONFUSED = 1000  # classes; a matrix of a whole vocabulary would take gigabytes


@dataclass(frozen=True)
class Measured:
    """One network, where it comes from, and what it says on the test split."""

    name: str
    trained: Candidate | TrainedStudent
    net: nn.Module
    logits: Tensor


def run(
    context: Context,
    teacher: TeacherChoice,
    knowledge: KnowledgeMap,
    design: StudentDesign,
    loss: ConnectedLoss,
    control: TrainedStudent,
    student: TrainedStudent,
) -> Report:
    """Measure on the test split, once; judge, propose, report and hand out the student."""
    parts = context.parts
    measured = _measure(context, teacher, control, student)
    rows = [_row(context, item, measured[0].logits) for item in measured]
    verdict = judge(rows, parts.evaluation)
    proposals = propose(Evidence(parts, teacher, knowledge, design, loss, student, control))
    model = _hand_out(context, measured[-1].net)
    report = Report(
        rows,
        verdict,
        proposals,
        validation=student.scores,
        model=model,
        seconds_per_epoch=student.seconds / student.epochs,
        on_train=_on_train(context, measured[0], measured[-1]),
        left_out=_left_out(context, measured[-1]),
        variants=_variants(context, measured, Lesson(teacher, loss)),
    )
    _log(context, report, measured, design, loss)
    return report


def judge(rows: list[Row], evaluation: Evaluation) -> list[Goal]:
    """Hold the distilled student against the goals: accuracy kept, compute saved, size, gain."""
    kept, saved, size, gain = compare(rows)
    return [
        Goal(
            f"{rows[0].scores.compared_by.label} kept",
            kept,
            evaluation.goal_accuracy_kept,
            at_least=True,
        ),
        Goal("compute saved", saved, evaluation.goal_compute_saved, at_least=True),
        Goal("parameters of the teacher's", size, evaluation.goal_parameters_fraction, False),
        Goal("gain over the control", gain, 0.0, at_least=True, is_gain=True),
    ]


def _measure(
    context: Context, teacher: TeacherChoice, control: TrainedStudent, student: TrainedStudent
) -> list[Measured]:
    names = [TEACHER, *(f"{TEACHER} {n + 2}" for n in range(len(teacher.kept) - 1))]
    entries: list[tuple[str, Candidate | TrainedStudent]] = [
        *zip(names, teacher.kept, strict=True),
        (CONTROL, control),
        (DISTILLED, student),
    ]
    measured = []
    for name, trained in entries:
        net = context.trained_network(trained)
        logits = context.predict_test(trained, net)
        measured.append(Measured(name, trained, net, logits))
    return measured


def _on_train(context: Context, teacher: Measured, student: Measured) -> Fidelity:
    train, seen = context.splits.train, context.seen
    some = seen[context.sample(len(seen), context.parts.evaluation.num_train_samples)]
    arrays = Arrays(train.inputs[some], train.targets[some])
    return fidelity(context.predict(student.net, arrays), context.predict(teacher.net, arrays))


def _left_out(context: Context, student: Measured) -> LeftOut | None:
    classes = context.parts.regime.leave_out_classes
    if not classes:
        return None
    validation, test = context.splits.validation, context.splits.test
    logits = context.predict(student.net, validation)
    return left_out_scores((logits, validation.targets), (student.logits, test.targets), classes)


def _row(context: Context, item: Measured, teacher_logits: Tensor) -> Row:
    evaluation, test, weights = context.parts.evaluation, context.splits.test, item.trained.weights
    return Row(
        item.name,
        item.trained.label,
        score(item.logits, test.targets, evaluation.num_bins, test.had),
        agreement(item.logits, teacher_logits),
        kl_to_teacher(item.logits, teacher_logits),
        measure_cost(item.net, context.info.input_shape, evaluation.latency_repeats),
        context.store.fetch(weights.run_id, weights.path).stat().st_size,
    )


def _variants(context: Context, measured: list[Measured], lesson: Lesson) -> list[Variant]:
    """Compress what is to be compressed, in every chain."""
    by_slot = {"teacher": measured[0], "control": measured[-2], "student": measured[-1]}
    made = []
    for slot in context.parts.variants.of if context.parts.compress else ():
        item = by_slot[slot]
        taught = lesson if slot == "student" else None
        origin = Origin(item.name, item.trained, item.net, taught)
        maker = Maker(context, origin, measured[0].logits)
        made += [maker.obtain(chain) for chain in beginnings(context.parts)]
    return made


def _hand_out(context: Context, net: nn.Module) -> str:
    """Log the student as an MLflow model that takes un-normalised inputs, of its own columns."""
    example, info = context.splits.train.inputs[:2], context.info
    if info.of_students is not None:
        example = example[:, info.of_students.start :].contiguous()  # the export keeps its strides
        net = deepcopy(net)
        net._forward_pre_hooks.clear()  # they cut rows that hold both
    return context.run.log_model(Deployed(net, info.read_by(student=True)), example)


def _log(
    context: Context,
    report: Report,
    measured: list[Measured],
    design: StudentDesign,
    loss: ConnectedLoss,
) -> None:
    targets, bins = context.splits.test.targets, context.parts.evaluation.num_bins
    names = list(context.info.class_names)
    confusable = measured if len(names) <= MOST_CONFUSED else []
    matrices = {item.name: confusion(item.logits, targets) for item in confusable}
    diagrams = {item.name: reliability(item.logits, targets, bins) for item in measured}
    points = [
        plots.Point(
            name=row.name,
            x=row.cost.macs,
            y=row.scores.quality,
            kept=True,
            picked=row.name == DISTILLED,
        )
        for row in report.rows
    ]
    points += [
        plots.Point(name=one.name, x=one.macs, y=one.scores.quality, kept=True, picked=False)
        for one in report.variants
    ]
    quality = context.info.quality.label
    figures = {
        "pareto.png": plots.trade_off(points, "MACs", f"test {quality}", "Kept and saved"),
        "reliability.png": grids.reliability_diagram(diagrams),
    }
    if matrices:
        figures["confusion.png"] = grids.confusion_matrices(matrices, names)
    for path, figure in figures.items():
        context.run.log_figure(figure, path)
    context.run.log_text(tables.csv_text(table(report)), "table.csv")
    context.run.log_text(tables.markdown(table(report)), "table.md")
    context.run.log_metrics(report.metrics)
    sections = [
        Section(
            "Verdict",
            verdict=tuple(_card(goal) for goal in report.verdict),
            text=(
                _what_ran(context, loss),
                f"On samples that it was trained on, the student agrees with the teacher on "
                f"{report.on_train.agreement:.1%}; the table says on how many of the test split.",
                "Measured on the test split, which no choice was made on. One seed: a difference "
                "of a few samples is noise; sweep seed=0,1,2 for the spread.",
                "The control is the same student from the same initial weights under the same "
                "regime, trained with plain cross-entropy whatever the loss terms are"
                f"{_on(context.parts)}.",
            ),
            tables=(
                [
                    _columns(row, "accuracy", "agreement", "ECE", "NLL", "Brier", "KL to teacher")
                    for row in table(report)
                ],
                *_of_ranking(report),
                [
                    _columns(row, "parameters", "MACs", "KiB on disk", "latency ms")
                    for row in table(report)
                ],
            ),
        ),
        Section(
            "Trade-off and calibration",
            text=(f"The student: {design.headline}.",),
            figures=(
                (figures["pareto.png"], "What each network knows, and what it costs to ask it."),
                (figures["reliability.png"], "On the diagonal, confidence is accuracy."),
            ),
        ),
        *of_variants(context.run, report),
        *_of_left_out_classes(context, report.left_out),
        Section("Loss terms", tables=(loss.table,)),
        *_of_confusion(figures),
        Section(
            "What to try next",
            text=() if report.proposals else ("No rule proposes a change.",),
            tables=(_next(report.proposals),) if report.proposals else (),
        ),
    ]
    title = f"{measured[-1].trained.label} from {measured[0].trained.label}, on {context.info.name}"
    context.run.log_text(page(title, sections), "report.html")


def _of_ranking(report: Report) -> list[list[dict[str, Cell]]]:
    names = [name for name in table(report)[0] if "@10" in name]
    return [[_columns(row, *names) for row in table(report)]] if names else []


def _of_confusion(figures: dict[str, Figure]) -> list[Section]:
    if "confusion.png" not in figures:
        return []
    shown = (figures["confusion.png"], "Rows: true class; columns: said.")
    return [Section("Confusion", figures=(shown,))]


def _of_left_out_classes(context: Context, found: LeftOut | None) -> list[Section]:
    if found is None:
        return []
    classes = context.parts.regime.leave_out_classes
    names = ", ".join(context.info.class_names[number] for number in classes)
    rows = {
        "none": found.plain,
        "fewest errors on validation": found.chosen,
        "fewest errors on test, a bound": found.test_tuned,
    }
    table = [
        {
            "bias": how,
            "added to their logits": biased.bias,
            "errors": biased.errors,
            f"on the {found.num_samples:,} of {names}": biased.errors_on,
        }
        for how, biased in rows.items()
    ]
    text = f"The student was not trained on {names}. What it says of them, with a bias and without:"
    return [Section("Classes that were left out", text=(text,), tables=(table,))]


def _what_ran(context: Context, loss: ConnectedLoss) -> str:
    parts, splits = context.parts, context.splits
    sizes = ", ".join(f"{name} {len(a.targets):,}" for name, a in splits._asdict().items())
    return f"Loss: {loss.headline}. Seed {parts.seed}. Samples: {sizes}."


def _on(parts: Parts) -> str:
    labels = parts.regime.num_labels
    return "" if labels is None else f", on the {labels:,} samples that have a label"


def _columns(row: dict[str, Cell], *names: str) -> dict[str, Cell]:
    return {"": row[""]} | {name: row[name] for name in names}


def _card(goal: Goal) -> Card:
    return Card(goal.name, goal.reached, goal.aim, goal.met)


def _next(proposals: list[Proposal]) -> list[dict[str, str | float | int | None]]:
    return [{"overrides": " ".join(p.overrides), "why": p.why} for p in proposals]
