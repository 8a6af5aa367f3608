"""Stage 3: measure every student candidate, keep those in budget, pick one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from distill_lab.contracts import Component, grid_labels
from distill_lab.errors import RunError
from distill_lab.knowledge.taps import default_taps
from distill_lab.measure.budget import Limits, limits, nearest_miss
from distill_lab.measure.cost import Cost, measure_cost
from distill_lab.models.copied_layers import copied
from distill_lab.models.reused_classifier import ENCODER, with_classifier_of
from distill_lab.report import plots, tables
from distill_lab.stages.context import Context
from distill_lab.stages.handoffs import KnowledgeMap, StudentDesign, TeacherChoice
from distill_lab.training.supervised import Supervised


@dataclass(frozen=True)
class Option:
    """One student candidate; `proxy_quality` where it was trained for a few epochs."""

    label: str
    architecture: Component
    cost: Cost
    in_budget: bool
    proxy_quality: float | None = None


def run(context: Context, teacher: TeacherChoice, knowledge: KnowledgeMap) -> StudentDesign:
    """Filter the student's grid by the budget and pick the largest, or the best after a short run.

    With `design.reuse_classifier` the candidates are what becomes of them with the projector and
    the classifier of the best teacher.

    Raises:
        RunError: no candidate meets the budget; names the nearest and what it misses.
    """
    parts = context.parts
    budget = limits(parts.design, teacher.best.cost, has_grid=len(parts.students) > 1)
    students = list(parts.students)
    if parts.design.reuse_classifier:
        students = [with_classifier_of(teacher.best.architecture, one) for one in students]
    options = [
        _measure(context, label, architecture, budget)
        for label, architecture in zip(grid_labels(parts.students), students, strict=True)
    ]
    kept = [option for option in options if option.in_budget]
    if not kept:
        costs = {option.label: option.cost for option in options}
        raise RunError(f"design: {nearest_miss(costs, budget)}")
    if parts.design.pick == "proxy":
        kept = [_proxy(context, option, teacher, number) for number, option in enumerate(kept)]
        picked = max(kept, key=lambda o: (o.proxy_quality or 0.0, -o.cost.parameters))
    else:
        picked = max(kept, key=lambda o: o.cost.parameters)
    options = [o for o in options if not o.in_budget] + kept
    _log(context, options, picked, teacher)
    taps = default_taps(context.new_network(picked.architecture, parts.seed))
    initial = None
    if parts.design.copy_layers is not None:
        initial = context.save_weights(_new(context, picked.architecture, teacher), "first")
    inside = ENCODER if parts.design.reuse_classifier else ""
    proposed = [replace(pair, student=f"{inside}{pair.student}") for pair in knowledge.pairs]
    pairs = [pair for pair in proposed if pair.student in taps]
    return StudentDesign(
        picked.label,
        picked.architecture,
        picked.cost,
        pairs,
        len(options),
        len(kept),
        budget.one_named,
        initial,
    )


def _measure(context: Context, label: str, architecture: Component, budget: Limits) -> Option:
    net = context.new_network(architecture, context.parts.seed)
    cost = measure_cost(net, context.info.input_shape, context.parts.design.latency_repeats)
    return Option(label, architecture, cost, not budget.misses(cost))


def _new(context: Context, architecture: Component, teacher: TeacherChoice) -> nn.Module:
    """Make a student as its training starts: random, but for what it copies of the best teacher."""
    net = context.new_network(architecture, context.parts.seed)
    layers = context.parts.design.copy_layers
    if layers is not None:
        net.load_state_dict(copied(net, context.trained_network(teacher.best), layers))
    return net


def _proxy(context: Context, option: Option, teacher: TeacherChoice, number: int) -> Option:
    """Train a candidate on labels for a few epochs and note its quality on validation."""
    parts = context.parts
    regime = replace(parts.selection.regime, epochs=parts.design.proxy_epochs)
    net = _new(context, option.architecture, teacher)
    trainee = Supervised(net, regime, context.info.num_classes, parts.seed)
    fitted = context.fit(trainee, parts.seed, f"proxy {option.label}", f"proxy_{number}/")
    kept = fitted.curve[fitted.kept_epoch - 1]
    return replace(option, proxy_quality=kept[f"val/{context.info.quality.key}"])


def _log(context: Context, options: list[Option], picked: Option, teacher: TeacherChoice) -> None:
    quality = context.info.quality
    rows = [
        {
            "architecture": option.architecture.label,
            "in budget": "yes" if option.in_budget else "",
            "picked": "yes" if option is picked else "",
            "parameters": option.cost.parameters,
            "of teacher": option.cost.parameters / teacher.best.cost.parameters,
            "MACs": option.cost.macs,
            "latency_ms": option.cost.latency_ms,
            "peak_memory_mib": option.cost.peak_memory_mib,
            f"proxy_{quality.key}": option.proxy_quality,
        }
        for option in options
    ]
    context.run.log_text(tables.csv_text(rows), "candidates.csv")
    context.run.log_text(tables.markdown(rows), "candidates.md")
    trained = picked.proxy_quality is not None
    points = [
        plots.Point(
            name=option.label,
            x=option.cost.parameters,
            y=(option.proxy_quality or 0.0) if trained else option.cost.latency_ms,
            kept=option.in_budget,
            picked=option is picked,
        )
        for option in options
        if option.in_budget or not trained
    ]
    y_label = f"proxy validation {quality.label}" if trained else "latency (ms)"
    figure = plots.pareto(points, "parameters", y_label, "Student candidates")
    context.run.log_figure(figure, "pareto.png")
    context.run.log_metrics(
        {
            "cost/parameters": picked.cost.parameters,
            "cost/macs": picked.cost.macs,
            "cost/latency_ms": picked.cost.latency_ms,
            "cost/peak_memory_mib": picked.cost.peak_memory_mib,
            "parameters_fraction": picked.cost.parameters / teacher.best.cost.parameters,
            "num_in_budget": sum(option.in_budget for option in options),
        }
    )
