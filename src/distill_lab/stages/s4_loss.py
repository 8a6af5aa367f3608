"""Stage 4: connect the loss terms and weigh them against each other in one dry step."""

from __future__ import annotations

from statistics import fmean

import torch
from torch import Tensor, nn

from distill_lab.contracts import DistillBatch
from distill_lab.data.normalise import normalise
from distill_lab.knowledge.taps import forward_with_taps
from distill_lab.losses.objective import Objective
from distill_lab.report import tables
from distill_lab.stages.context import Context
from distill_lab.stages.handoffs import (
    ConnectedLoss,
    StudentDesign,
    TeacherChoice,
    Term,
)
from distill_lab.training.connect import connected_objective

NUM_SAMPLES = 256  # of the dry step
DROWNING = 10.0  # one term drowns another when its gradient is this many times as long


def run(context: Context, teacher: TeacherChoice, student: StudentDesign) -> ConnectedLoss:
    """Connect the objective and note each term's value and gradient at the untrained student."""
    parts = context.parts
    net = context.new_network(student.architecture, parts.seed)
    teachers = [context.trained_network(candidate) for candidate in teacher.kept]
    shape, train = context.info.input_shape, context.splits.train
    objective = connected_objective(
        parts.loss, net, teachers, shape, len(train.targets), parts.seed
    )
    temperature = parts.temperature.make()(0.0)
    with torch.random.fork_rng(devices=[]):  # dropout draws in the dry step
        torch.manual_seed(parts.seed)
        batch = _dry_batch(context, net, teachers, objective, temperature)
        terms = _terms(objective, batch, net)
    result = ConnectedLoss(terms, temperature)
    _log(context, result)
    return result


def suggested_weights(weights: list[float], norms: list[float]) -> list[float]:
    """Return weights that make all gradients equally long, if one is ten times another.

    Args:
        weights: of the terms.
        norms: length of each weighted term's gradient.
    """
    live = [norm for norm in norms if norm > 0]
    if len(live) < 2 or max(live) < DROWNING * min(live):
        return weights
    mean = fmean(live)
    return [w * mean / n if n > 0 else w for w, n in zip(weights, norms, strict=True)]


def _dry_batch(
    context: Context,
    net: nn.Module,
    teachers: list[nn.Module],
    objective: Objective,
    temperature: float,
) -> DistillBatch:
    train = context.splits.train
    chosen = context.sample(train, NUM_SAMPLES)
    inputs = normalise(train.inputs[chosen], context.info)
    needs = objective.needs
    with torch.no_grad():
        said = tuple(forward_with_taps(t, inputs, list(needs.teacher)) for t in teachers)
    student = forward_with_taps(net.train(), inputs, list(needs.student))
    return DistillBatch(student, said, train.targets[chosen], chosen, temperature)


def _terms(objective: Objective, batch: DistillBatch, net: nn.Module) -> list[Term]:
    losses = objective.losses
    values = objective(batch).terms
    weights = [loss.weight for loss in losses.values()]
    norms = [losses[name].weight * _gradient_norm(value, net) for name, value in values.items()]
    suggested = suggested_weights(weights, norms)
    return [
        Term(name, loss.weight, float(values[name].detach()), norm, better, loss.uses_teacher)
        for (name, loss), norm, better in zip(losses.items(), norms, suggested, strict=True)
    ]


def _gradient_norm(value: Tensor, net: nn.Module) -> float:
    """Return the length of a term's gradient over all of the student's weights."""
    gradients = torch.autograd.grad(
        value, list(net.parameters()), retain_graph=True, allow_unused=True
    )
    return float(torch.stack([g.square().sum() for g in gradients if g is not None]).sum().sqrt())


def _log(context: Context, result: ConnectedLoss) -> None:
    context.run.log_text(tables.csv_text(result.table), "terms.csv")
    context.run.log_text(tables.markdown(result.table), "terms.md")
    context.run.log_metrics(
        {f"dry/value/{term.name}": term.value for term in result.terms}
        | {f"dry/gradient_norm/{term.name}": term.gradient_norm for term in result.terms}
        | {"temperature": result.temperature}
    )
