"""How closely the student follows its teacher, beside a student that never saw it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from distill_lab.contracts import Arrays
from distill_lab.data.label_noise import with_label_noise
from distill_lab.data.normalise import normalise
from distill_lab.knowledge.similarity import cka_matrix
from distill_lab.knowledge.taps import default_taps, forward_with_taps
from distill_lab.measure.fidelity import (
    Agreement,
    agreement,
    fidelity,
    independent_agreement,
)
from distill_lab.measure.intervals import Interval, percentile_interval, resampled_means
from distill_lab.measure.paired import Discordant, mcnemar
from distill_lab.stages.context import Context
from distill_lab.stages.examined import (
    Faithfulness,
    LayerSimilarity,
    Memorised,
    SplitFidelity,
)
from distill_lab.stages.measured import Measured, Named
from distill_lab.stages.report_handoff import CONTROL, DISTILLED, TEACHER

NUM_LAYER_SAMPLES = 256
"""Whose features are compared: enough to tell layers apart, and a matter of a second."""


def faithfulness(context: Context, measured: Mapping[str, Measured]) -> Faithfulness:
    """Compare student, control and teacher on all splits, and layer by layer on test.

    Args:
        context: of the stage.
        measured: teacher, control and student by the names of their rows.
    """
    numbers, train = _some_of_train(context)
    test = {name: item.logits for name, item in measured.items()}
    said = {
        "train": _said(context, measured, train, "train", _drawn(context)),
        "validation": _said(context, measured, context.splits.validation, "validation"),
        "test": test,
    }
    count = min(NUM_LAYER_SAMPLES, len(context.splits.test.targets))
    return Faithfulness(
        [_of_split(split, logits) for split, logits in said.items()],
        pairs(test, context.splits.test.targets),
        closer(test),
        excess(
            test,
            context.splits.test.targets,
            context.parts.evaluation.num_resamples,
            context.parts.seed,
        ),
        _layers(context, {name: item.net for name, item in measured.items()}, count),
        count,
        _memorised(context, numbers, said["train"]),
    )


def pairs(logits: Named, targets: Tensor) -> list[Agreement]:
    """Return how often two networks agree, and how often they would if they were independent.

    Args:
        logits: of teacher, control and student, (N, K) each.
        targets: (N,).
    """
    right = {n: (said.argmax(1) == targets).double().mean().item() for n, said in logits.items()}
    num_classes = logits[TEACHER].shape[1]
    return [
        Agreement(
            first,
            second,
            agreement(logits[first], logits[second]),
            independent_agreement(right[first], right[second], num_classes),
        )
        for first, second in combinations((DISTILLED, TEACHER, CONTROL), 2)
    ]


def closer(logits: Named) -> Discordant:
    """Test whether the student gives the teacher's answers more often than the control does."""
    said = {name: one.argmax(1) for name, one in logits.items()}
    return mcnemar(said[DISTILLED] == said[TEACHER], said[CONTROL] == said[TEACHER])


def excess(logits: Named, targets: Tensor, num_resamples: int, seed: int) -> Interval:
    """Return where the student's agreement beyond independence, minus the control's, lies.

    A student that is right more often agrees more often too; what is left after that has been taken
    off is imitation. Arguments as of `pairs` and `resampled_means`.
    """
    said = {name: one.argmax(1) for name, one in logits.items()}
    names, num_classes = (DISTILLED, CONTROL), logits[TEACHER].shape[1]
    columns = [said[TEACHER] == targets]
    columns += [said[name] == other for name in names for other in (targets, said[TEACHER])]
    teacher, *both = resampled_means(torch.stack(columns, 1), num_resamples, seed).unbind(1)
    student, control = (
        agrees - independent_agreement(right, teacher, num_classes)
        for right, agrees in (both[:2], both[2:])
    )
    return percentile_interval(student - control)


def _some_of_train(context: Context) -> tuple[Tensor, Arrays]:
    """Return numbers and samples of some that the student was trained on."""
    train, seen = context.splits.train, context.seen
    some = seen[context.sample(len(seen), context.parts.evaluation.num_train_samples)]
    return some, Arrays(train.inputs[some], train.targets[some])


def _drawn(context: Context) -> list[Any]:
    """Return what decides which training samples are asked about."""
    parts, regime = context.parts, context.parts.regime
    drawn = [regime.leave_out_classes, regime.num_samples, parts.evaluation.num_train_samples]
    return [*drawn, parts.seed]


def _said(context: Context, measured: Mapping[str, Measured], arrays: Arrays, *about: Any) -> Named:
    """Ask each network about some samples, once."""
    return {
        name: context.once(item.trained, partial(context.predict, item.net, arrays), *about)
        for name, item in measured.items()
    }


def _of_split(split: str, logits: Named) -> SplitFidelity:
    teacher = logits[TEACHER]
    student, control = (fidelity(logits[name], teacher) for name in (DISTILLED, CONTROL))
    return SplitFidelity(split, len(teacher), student, control)


def _layers(context: Context, nets: dict[str, nn.Module], count: int) -> list[LayerSimilarity]:
    test = context.splits.test
    some = context.sample(len(test.targets), count).sort().values
    inputs = normalise(test.inputs[some], context.info)
    taps = {name: default_taps(net) for name, net in nets.items()}
    with torch.no_grad():
        features = {
            name: dict(forward_with_taps(net.eval(), inputs, taps[name]).features)
            for name, net in nets.items()
        }
    return [
        LayerSimilarity(
            name, taps[name], taps[TEACHER], cka_matrix(features[name], features[TEACHER]).tolist()
        )
        for name in (CONTROL, DISTILLED)
    ]


def _memorised(context: Context, numbers: Tensor, logits: Named) -> list[Memorised]:
    regime, true = context.parts.regime, context.splits.train.targets
    if not regime.label_noise or regime.num_labels is not None:  # then they were not all trained on
        return []
    given = with_label_noise(
        true,
        regime.label_noise,
        context.info.num_classes,
        context.parts.seed,
        regime.leave_out_classes,
    )[numbers]
    true = true[numbers]
    replaced = given != true
    found = []
    for name in (CONTROL, DISTILLED):
        said = logits[name].argmax(1)
        counts = [int((replaced & (said == label)).sum()) for label in (given, true)]
        found.append(Memorised(name, int(replaced.sum()), *counts))
    return found
