"""Trainings of compressed networks: each as the network that it was made of was trained."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import nn

from distill_lab.contracts import Component, Parts
from distill_lab.losses.weighting import has_stopped, weight_factor
from distill_lab.models.reused_classifier import ReusedClassifier
from distill_lab.stages.context import Context
from distill_lab.stages.handoffs import Candidate, ConnectedLoss, TeacherChoice, TrainedStudent
from distill_lab.stages.teach import teach
from distill_lab.training.supervised import Supervised


@dataclass(frozen=True)
class Lesson:
    """What the distilled student was taught by."""

    teacher: TeacherChoice
    loss: ConnectedLoss


@dataclass(frozen=True)
class Origin:
    """A trained network that is compressed.

    Attributes:
        name: of its row.
        trained: where it comes from.
        net: itself.
        lesson: what it was taught by, and is in the trainings of steps; None: labels.
    """

    name: str
    trained: Candidate | TrainedStudent
    net: nn.Module
    lesson: Lesson | None

    def inside(self, context: Context) -> Context:
        """Return the context with the regime and the seed that the network was trained by."""
        if not isinstance(self.trained, Candidate):
            return context
        parts = context.parts
        own = replace(parts, regime=parts.selection.regime, seed=self.trained.seed)
        return replace(context, parts=own)

    def smoothing(self, parts: Parts) -> float:
        """Return the label smoothing that it was trained by."""
        return parts.selection.label_smoothing if isinstance(self.trained, Candidate) else 0.0


def decisive(origin: Origin, parts: Parts) -> list[Any]:
    """Return the plain values that decide a training beside its epochs, data and first weights.

    Args:
        origin: the network.
        parts: of `origin.inside`.
    """
    lr_fraction, lesson = parts.variants.lr_fraction, origin.lesson
    if lesson is None:
        regime = {key: value for key, value in asdict(parts.regime).items() if key != "epochs"}
        return [regime, lr_fraction, origin.smoothing(parts)]
    taught = [parts.config[key] for key in ("loss", "temperature", "weighting")]
    taught += [[one.weights.sha256 for one in lesson.teacher.kept], lesson.loss.pairs]
    taught += [None if parts.cache.exact else parts.config["cache"]]
    return [asdict(parts.regime), lr_fraction, *taught]


def retrain(
    origin: Origin, net: nn.Module, epochs: int, context: Context, title: str, prefix: str
) -> nn.Module:
    """Train a network as its origin was trained, for so many epochs.

    Args:
        origin: what it was made of.
        net: in train mode.
        epochs: >= 1.
        context: of `origin.inside`.
        title: shown before the progress bar.
        prefix: of the names under which the curve is logged.

    Raises:
        RunError: the loss is not finite.
        ValueError: a loss term cannot read the network.
    """
    parts, lesson = context.parts, origin.lesson
    regime = replace(parts.regime, epochs=epochs, lr=parts.regime.lr * parts.variants.lr_fraction)
    if lesson is None:
        regime = regime.on_labels(len(context.seen))
        classes, smoothing = context.info.num_classes, origin.smoothing(parts)
        trainee = Supervised(net, regime, classes, parts.seed, smoothing)
        return context.fit(trainee, parts.seed, title, prefix).net
    if isinstance(net, ReusedClassifier):
        net.classifier.requires_grad_(False)  # it is the teacher's, as in stage 5
    inside = replace(context, parts=replace(at_the_end(parts), regime=regime))
    teachers = [context.trained_network(candidate) for candidate in lesson.teacher.kept]
    pairs = {name: one for name, one in lesson.loss.pairs.items() if name in inside.parts.loss}
    loss = replace(lesson.loss, pairs=pairs)
    return teach(inside, net, lesson.teacher, teachers, loss, title, prefix).net


def at_the_end(parts: Parts) -> Parts:
    """Return the parts with loss weights and temperature as they are in the last step of stage 5.

    A term that has stopped by then is left out.
    """
    schedules, epochs = parts.weighting.schedules, parts.regime.epochs
    last = math.nextafter(epochs, 0)  # a term that stops with the training is in its last step
    terms = {}
    for name, term in parts.loss.items():
        schedule = schedules.get(name, {})
        if not has_stopped(schedule, last):
            weight = term.args["weight"] * weight_factor(schedule, last, epochs)
            terms[name] = replace(term, args=term.args | {"weight": weight})
    temperature = Component(
        "distill_lab.temperature.Constant", {"value": parts.temperature.make()(1.0)}
    )
    weighting = replace(parts.weighting, schedules={})
    return replace(parts, loss=terms, weighting=weighting, temperature=temperature)
