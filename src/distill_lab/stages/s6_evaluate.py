"""Stage 6: teacher, control and student side by side on the test split; what is next."""

from __future__ import annotations

from copy import deepcopy

from safetensors.torch import save
from torch import Tensor, nn

from distill_lab.measure.cost import cost_with
from distill_lab.measure.fidelity import agreement, kl_to_teacher
from distill_lab.measure.left_out import LeftOut, left_out_scores
from distill_lab.measure.scores import confusion, reliability, score
from distill_lab.models.deployed import Deployed
from distill_lab.report import tables
from distill_lab.settings import Evaluation
from distill_lab.stages.context import Context
from distill_lab.stages.cost_handoff import Training
from distill_lab.stages.examined import Robustness
from distill_lab.stages.faithfulness import faithfulness
from distill_lab.stages.handoffs import (
    Candidate,
    ConnectedLoss,
    KnowledgeMap,
    StudentDesign,
    TeacherChoice,
    TrainedStudent,
)
from distill_lab.stages.measured import Measured
from distill_lab.stages.proposals import propose
from distill_lab.stages.report_handoff import (
    CONTROL,
    DISTILLED,
    PREDICTIONS,
    RIGHT,
    TARGET,
    TEACHER,
    Goal,
    Report,
    Row,
    Tested,
    Variant,
    compare,
    table,
)
from distill_lab.stages.retraining import Lesson, Origin
from distill_lab.stages.robustness import answered, robustness
from distill_lab.stages.rules.evidence import Evidence
from distill_lab.stages.running_costs import Asked, device_latency, running_costs
from distill_lab.stages.variants import Maker, beginnings

MOST_CONFUSED = 100  # classes; the matrix of more is no picture, and its numbers are a large file


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
    compared = {item.name: item for item in (measured[0], *measured[-2:])}
    faithful, robust = faithfulness(context, compared), robustness(context, compared)
    verdict = judge(rows, parts.evaluation, robust)
    model = _hand_out(context, measured[-1].net)
    on_train = faithful.on("train").student
    variants, made = _variants(context, measured, Lesson(teacher, loss))
    evidence = Evidence(parts, teacher, knowledge, design, loss, student, on_train, variants)
    report = Report(
        rows,
        verdict,
        propose(evidence),
        validation=student.scores,
        model=model,
        seconds_per_epoch=student.seconds / student.epochs,
        on_train=on_train,
        left_out=_left_out(context, measured[-1]),
        variants=variants,
        data=_tested(context),
        running=running_costs(
            context,
            [
                Asked(item.name, item.net, item.net, item.latency, file_bytes=row.file_bytes)
                for item, row in zip(measured, rows, strict=True)
            ],
            made,
            [Training(CONTROL, control.seconds), Training(DISTILLED, student.seconds)],
        ),
        faithfulness=faithful,
        robustness=robust,
    )
    _log(context, report, measured)
    return report


def judge(rows: list[Row], evaluation: Evaluation, robust: Robustness | None = None) -> list[Goal]:
    """Hold the distilled student against the goals: accuracy kept, compute saved, size, gain."""
    kept, saved, size, gain = compare(rows)
    of_kept, of_gain = (None, None) if robust is None else (robust.kept, robust.gain)
    return [
        Goal(
            f"{rows[0].scores.compared_by.label} kept",
            kept,
            evaluation.goal_accuracy_kept,
            at_least=True,
            interval=of_kept,
        ),
        Goal("compute saved", saved, evaluation.goal_compute_saved, at_least=True),
        Goal("parameters of the teacher's", size, evaluation.goal_parameters_fraction, False),
        Goal("gain over the control", gain, 0.0, True, True, of_gain),
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
        measured.append(Measured(name, trained, net, logits, device_latency(context, net)))
    return measured


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
        cost_with(item.latency, item.net, context.info.input_shape),
        context.store.fetch(weights.run_id, weights.path).stat().st_size,
        reliability(item.logits, test.targets, evaluation.num_bins),
        confusion(item.logits, test.targets).tolist() if _is_shown(context) else None,
    )


def _is_shown(context: Context) -> bool:
    return context.info.num_classes <= MOST_CONFUSED


def _tested(context: Context) -> Tested:
    parts, names = context.parts, context.info.class_names
    regime, design = parts.regime, parts.design
    return Tested(
        context.info.name,
        {name: len(arrays.targets) for name, arrays in context.splits._asdict().items()},
        regime.num_labels,
        list(names) if _is_shown(context) else [],
        [names[number] for number in regime.leave_out_classes],
        regime.label_noise,
        parts.selection.regime.label_noise,
        design.reuse_classifier or design.copy_layers is not None,
    )


def _variants(
    context: Context, measured: list[Measured], lesson: Lesson
) -> tuple[list[Variant], list[Asked]]:
    """Compress what is to be compressed, in every chain; return the networks too."""
    by_slot = {"teacher": measured[0], "control": measured[-2], "student": measured[-1]}
    variants, made = [], []
    for slot in context.parts.variants.of if context.parts.compress else ():
        item = by_slot[slot]
        taught = lesson if slot == "student" else None
        origin = Origin(item.name, item.trained, item.net, taught)
        right = answered(item.logits, context.splits.test)
        maker = Maker(context, origin, measured[0].logits, right)
        for chain in beginnings(context.parts):
            variants.append(maker.obtain(chain))
            made.append(maker.asked(chain, variants[-1]))
    return variants, made


def _hand_out(context: Context, net: nn.Module) -> str:
    """Log the student as an MLflow model that takes un-normalised inputs, of its own columns."""
    example, info = context.splits.train.inputs[:2], context.info
    if info.of_students is not None:
        example = example[:, info.of_students.start :].contiguous()  # the export keeps its strides
        net = deepcopy(net)
        net._forward_pre_hooks.clear()  # they cut rows that hold both
    return context.run.log_model(Deployed(net, info.read_by(student=True)), example)


def _log(context: Context, report: Report, measured: list[Measured]) -> None:
    """Keep the table, and what each network says of each sample of the test split."""
    context.run.log_text(tables.csv_text(table(report)), "table.csv")
    context.run.log_text(tables.markdown(table(report)), "table.md")
    context.run.log_metrics(report.metrics)
    said = {item.name: item.logits.argmax(dim=1).int() for item in measured}
    test = context.splits.test
    right = {f"{RIGHT}{item.name}": answered(item.logits, test) for item in measured}
    kept = {TARGET: test.targets.int(), **said, **right}
    context.run.log_bytes(save(kept), PREDICTIONS)
