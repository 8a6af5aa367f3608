"""Stage 4: connect the loss terms and weigh them against each other in one dry step."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import torch
from torch import Tensor, nn

from distill_lab.contracts import DistillBatch, Extra, Output
from distill_lab.data.normalise import normalise
from distill_lab.knowledge.taps import classifier_of, forward_with_taps
from distill_lab.losses.objective import Objective
from distill_lab.losses.pairs import PairLoss
from distill_lab.models.reused_classifier import ReusedClassifier
from distill_lab.report import tables
from distill_lab.stages.context import Context
from distill_lab.stages.handoffs import ConnectedLoss, StudentDesign, TeacherChoice, Term
from distill_lab.training.balance import gradient_norm
from distill_lab.training.connect import connected_objective

NUM_SAMPLES = 256  # of the dry step
DROWNING = 10.0  # one term drowns another when its gradient is this many times as long


def run(context: Context, teacher: TeacherChoice, student: StudentDesign) -> ConnectedLoss:
    """Connect the objective and note each term's value and gradient at the untrained student."""
    parts = context.parts
    net = context.first_network(student)
    teachers = [context.trained_network(candidate) for candidate in teacher.kept]
    if isinstance(net, ReusedClassifier):
        net.reuse(teachers[0])
    shape, train = context.info.input_shape, context.splits.train
    objective = connected_objective(
        parts.loss,
        net,
        teachers,
        shape,
        len(train.targets),
        parts.seed,
        proposed=[(pair.student, pair.teacher) for pair in student.pairs],
    )
    temperature = parts.temperature.make()(0.0)
    with torch.random.fork_rng(devices=[]):  # dropout draws in the dry step
        torch.manual_seed(parts.seed)
        batch, extra = _dry_batch(context, net, teachers, objective, temperature)
        terms = _terms(objective, batch, extra, net)
    result = ConnectedLoss(terms, temperature, _pairs(objective))
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


def _pairs(objective: Objective) -> dict[str, list[list[str]]]:
    """Return which layers each term compares, of those that do."""
    return {
        name: [list(pair) for pair in term.pairs]
        for name, term in objective.losses.items()
        if isinstance(term, PairLoss)
    }


def _dry_batch(
    context: Context,
    net: nn.Module,
    teachers: list[nn.Module],
    objective: Objective,
    temperature: float,
) -> tuple[DistillBatch, dict[str, Extra]]:
    train = context.splits.train
    chosen = context.sample(len(train.targets), NUM_SAMPLES)
    inputs = normalise(train.inputs[chosen], context.info)
    needs = objective.needs
    more = objective.extra_inputs(inputs)
    with torch.no_grad():
        said = tuple(_says(t, inputs, needs.teacher) for t in teachers)
        further = {k: tuple(_says(t, x, needs.teacher) for t in teachers) for k, x in more.items()}
    student = _says(net.train(), inputs, needs.student)
    extra = {
        name: Extra(_says(net, asked, needs.student), further[name]) for name, asked in more.items()
    }
    targets = train.targets[chosen]
    return DistillBatch(student, said, targets, chosen, temperature, inputs=inputs), extra


def _says(net: nn.Module, inputs: Tensor, taps: tuple[str, ...]) -> Output:
    return replace(forward_with_taps(net, inputs, list(taps)), classifier=classifier_of(net))


def _terms(
    objective: Objective, batch: DistillBatch, extra: dict[str, Extra], net: nn.Module
) -> list[Term]:
    losses = objective.losses
    parameters = [weight for weight in net.parameters() if weight.requires_grad]
    values = objective.values(batch, extra)
    weights = [loss.weight for loss in losses.values()]
    norms = [
        losses[name].weight * gradient_norm(value, parameters) for name, value in values.items()
    ]
    suggested = suggested_weights(weights, norms)
    return [
        Term(name, loss.weight, float(values[name].detach()), norm, better, loss.uses_teacher)
        for (name, loss), norm, better in zip(losses.items(), norms, suggested, strict=True)
    ]


def _log(context: Context, result: ConnectedLoss) -> None:
    context.run.log_text(tables.csv_text(result.table), "terms.csv")
    context.run.log_text(tables.markdown(result.table), "terms.md")
    context.run.log_metrics(
        {f"dry/value/{term.name}": term.value for term in result.terms}
        | {f"dry/gradient_norm/{term.name}": term.gradient_norm for term in result.terms}
        | {"temperature": result.temperature}
    )
