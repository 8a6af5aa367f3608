"""Stage 2: measure what the teacher knows: soft targets, layers, and which to pair."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from distill_lab.contracts import Arrays, Component
from distill_lab.data.normalise import normalise
from distill_lab.knowledge import probes, similarity, softness
from distill_lab.knowledge.pairing import propose_pairs
from distill_lab.knowledge.taps import default_taps, forward_with_taps
from distill_lab.measure.cost import count_parameters
from distill_lab.report import grids, plots, tables
from distill_lab.stages.context import Context
from distill_lab.stages.handoffs import KnowledgeMap, LayerPair, TeacherChoice
from distill_lab.training.supervised import Supervised


def run(context: Context, teacher: TeacherChoice) -> KnowledgeMap:
    """Scan temperatures, probe the teacher's layers and compare them with a reference student's."""
    net = context.trained_network(teacher.best)
    entropy, variance = _softness(context, net)
    proposed = softness.temperature_range({float(t): value for t, value in variance.items()})
    layers = default_taps(net)
    train = _features(context, net, context.splits.train, layers)
    validation = _features(context, net, context.splits.validation, layers)
    targets = context.splits.train.targets[_some(context, context.splits.train)]
    held_out = context.splits.validation.targets[_some(context, context.splits.validation)]
    probe = {
        tap: probes.probe_accuracy(train[tap], targets, validation[tap], held_out) for tap in layers
    }
    student = reference_student(context)
    student_layers = default_taps(student)
    cka = similarity.cka_matrix(
        _features(context, student, context.splits.train, student_layers), train
    )
    pairs = [LayerPair(*pair) for pair in propose_pairs(cka, student_layers, layers)]
    result = KnowledgeMap(entropy, variance, list(proposed), probe, pairs)
    _log(context, result, cka, student_layers, layers)
    return result


def reference_student(context: Context) -> nn.Module:
    """Train the largest student of the grid for a few epochs, so that its layers mean something."""
    parts = context.parts
    net = context.new_network(largest(context, parts.students), parts.seed)
    if parts.knowledge.student_epochs == 0:
        return net.eval()
    regime = replace(parts.selection.regime, epochs=parts.knowledge.student_epochs)
    trainee = Supervised(net, regime, context.info.num_classes, parts.seed)
    title = f"reference student, {regime.epochs} epochs"
    return context.fit(trainee, parts.seed, title, "reference_student/").net


def largest(context: Context, architectures: tuple[Component, ...]) -> Component:
    """Return the architecture with the most parameters."""
    with torch.device("meta"):
        return max(architectures, key=lambda a: count_parameters(a.make_network(context.info)))


def _softness(context: Context, net: nn.Module) -> tuple[dict[str, float], dict[str, float]]:
    """Measure entropy and wrong-class variance of the soft targets on the training split."""
    train = context.splits.train
    logits = context.predict(net, train)
    temperatures = context.parts.knowledge.temperatures
    entropy = {f"{t:g}": softness.entropy(logits, t) for t in temperatures}
    variance = {
        f"{t:g}": softness.wrong_class_variance(logits, train.targets, t) for t in temperatures
    }
    return entropy, variance


def _some(context: Context, arrays: Arrays) -> Tensor:
    """Return the numbers of the samples that probes and CKA are computed on."""
    return context.sample(len(arrays.targets), context.parts.knowledge.num_samples)


def _features(
    context: Context, net: nn.Module, arrays: Arrays, taps: list[str]
) -> dict[str, Tensor]:
    inputs = normalise(arrays.inputs[_some(context, arrays)], context.info)
    with torch.no_grad():
        return dict(forward_with_taps(net.eval(), inputs, taps).features)


def _log(
    context: Context, result: KnowledgeMap, cka: Tensor, student: list[str], teacher: list[str]
) -> None:
    run = context.run
    temperatures = [float(t) for t in result.entropy]
    low, high = result.temperature_range
    run.log_figure(
        plots.two_axes(
            temperatures,
            ("entropy (nats)", list(result.entropy.values())),
            ("wrong-class variance", list(result.wrong_class_variance.values())),
            "temperature",
            (low, high),
        ),
        "softness.png",
    )
    run.log_figure(
        grids.heat_map(cka.tolist(), student, teacher, "Linear CKA", "student", "teacher"),
        "cka.png",
    )
    rows = [
        {
            "temperature": t,
            "entropy": result.entropy[t],
            "wrong_class_variance": result.wrong_class_variance[t],
        }
        for t in result.entropy
    ]
    run.log_text(tables.csv_text(rows), "softness.csv")
    layers = [
        {"teacher layer": tap, "probe accuracy": value}
        for tap, value in result.probe_accuracy.items()
    ]
    run.log_text(tables.csv_text(layers), "probes.csv")
    pairs = [
        {"student layer": p.student, "teacher layer": p.teacher, "CKA": p.cka} for p in result.pairs
    ]
    run.log_text(tables.csv_text(pairs), "pairs.csv")
    run.log_metrics(
        {"temperature/low": low, "temperature/high": high}
        | {f"probe/{tap}": value for tap, value in result.probe_accuracy.items()}
    )
