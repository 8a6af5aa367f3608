"""Stage 5: distil the teacher(s) into the student under the regime."""

from __future__ import annotations

from distill_lab.models.reused_classifier import ReusedClassifier
from distill_lab.stages.answers import open_caches, usage
from distill_lab.stages.context import Context
from distill_lab.stages.handoffs import (
    ConnectedLoss,
    StudentDesign,
    TeacherChoice,
    TrainedStudent,
)
from distill_lab.training.connect import connected_objective, with_pairs
from distill_lab.training.distiller import Distiller


def run(
    context: Context, teacher: TeacherChoice, student: StudentDesign, loss: ConnectedLoss
) -> TrainedStudent:
    """Train the student on the objective; the first weights and batches are the control's too."""
    parts, info = context.parts, context.info
    net = context.first_network(student)
    teachers = [context.trained_network(candidate) for candidate in teacher.kept]
    if isinstance(net, ReusedClassifier):
        net.reuse(teachers[0])
    num_samples = len(context.splits.train.targets)
    objective = connected_objective(
        with_pairs(parts.loss, loss.pairs),
        net,
        teachers,
        info.input_shape,
        num_samples,
        parts.seed,
        parts.weighting.schedules,
    )
    caches = open_caches(context, teacher, teachers, objective)
    distiller = Distiller(
        net,
        teachers,
        objective,
        parts.temperature.make(),
        parts.regime,
        info.num_classes,
        parts.seed,
        caches,
        parts.weighting.balance_every if parts.weighting.balance == "gradient_norm" else None,
    )
    title = f"student, {'+'.join(term.name for term in loss.terms)}"
    fitted = context.fit(distiller, parts.seed, title)
    trained = context.trained_student(student, fitted, "student")
    context.run.log_metrics(usage(caches))
    return trained
