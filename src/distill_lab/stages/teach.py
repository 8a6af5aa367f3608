"""Teaching a network as stage 5 does: its loss terms, its teachers, what they have said before."""

from __future__ import annotations

from torch import nn

from distill_lab.stages.answers import open_caches, usage
from distill_lab.stages.context import Context
from distill_lab.stages.handoffs import ConnectedLoss, TeacherChoice
from distill_lab.training.connect import connected_objective, with_pairs
from distill_lab.training.distiller import Distiller
from distill_lab.training.fit import Fitted


def teach(
    context: Context,
    net: nn.Module,
    teacher: TeacherChoice,
    teachers: list[nn.Module],
    loss: ConnectedLoss,
    title: str,
    prefix: str = "",
) -> Fitted:
    """Train a network on the run's objective under its regime.

    Args:
        context: of the stage; what the caches were good for is logged to its run.
        net: the student.
        teacher: the kept teachers.
        teachers: their networks.
        loss: which layers the terms read.
        title: shown before the progress bar.
        prefix: of the names under which the curve is logged.

    Raises:
        RunError: the loss is not finite.
        ValueError: a term cannot read the network.
    """
    parts, info = context.parts, context.info
    objective = connected_objective(
        with_pairs(parts.loss, loss.pairs),
        net,
        teachers,
        info.input_shape,
        len(context.splits.train.targets),
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
    fitted = context.fit(distiller, parts.seed, title, prefix)
    context.run.log_metrics(usage(caches))
    return fitted
