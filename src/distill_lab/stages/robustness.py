"""How far what the table of stage 6 says holds: by chance, by class, by input, by confidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict

import torch
from torch import Tensor

from distill_lab.contracts import Arrays, DataInfo
from distill_lab.data.word_augment import WordAugmentation
from distill_lab.measure.calibration import adaptive_ece
from distill_lab.measure.classes import class_changes, most_changed
from distill_lab.measure.corruptions import (
    HIDDEN_SHARE,
    IMAGES,
    SEVERITIES,
    feature_noise,
    without_items,
)
from distill_lab.measure.intervals import percentile_interval, resampled_means
from distill_lab.measure.paired import mcnemar
from distill_lab.measure.ranking import DEPTH, gains, places
from distill_lab.measure.selective import selective
from distill_lab.report import tables
from distill_lab.stages.context import Context
from distill_lab.stages.examined import Certainty, Curve, PairedTest, Robustness
from distill_lab.stages.measured import Measured
from distill_lab.stages.report_handoff import CONTROL, DISTILLED, TEACHER

MOST_CHANGED = 10  # classes that are listed, of the lost and of the won ones
MOST_BYTES = 2**28  # of inputs that are corrupted at once; fewer large images are
NETWORKS = (TEACHER, CONTROL, DISTILLED)

Corruption = Callable[[Tensor, int, int], Tensor]
"""(inputs, severity, seed) -> inputs."""


def robustness(context: Context, measured: Mapping[str, Measured]) -> Robustness:
    """Put intervals and tests to the numbers of the test split, and corrupt its inputs.

    Args:
        context: of the stage.
        measured: teacher, control and student by the names of their rows.
    """
    test = {name: item.logits for name, item in measured.items()}
    parts, arrays, names = context.parts, context.splits.test, context.info.class_names
    evaluation, targets = parts.evaluation, arrays.targets
    quality = torch.stack([of_samples(test[name], arrays) for name in NETWORKS], 1)
    means = resampled_means(quality, evaluation.num_resamples, parts.seed)
    teacher, control, student = means.unbind(1)
    right = {name: answered(test[name], arrays) for name in NETWORKS}
    by_class = []
    if not context.info.ranks_items:
        three = (right[TEACHER], right[CONTROL], right[DISTILLED])
        by_class = class_changes(targets, three, list(names))
        context.run.log_text(tables.csv_text([asdict(one) for one in by_class]), "classes.csv")
    curves, count, why = _corrupted(context, measured)
    return Robustness(
        [
            Certainty(
                name,
                percentile_interval(means[:, number]),
                adaptive_ece(test[name], targets, evaluation.num_bins),
                selective(test[name], targets),
            )
            for number, name in enumerate(NETWORKS)
        ],
        percentile_interval(student - control),
        percentile_interval(student / teacher.clamp(min=1e-9)),
        [
            PairedTest(DISTILLED, other, mcnemar(right[DISTILLED], right[other]))
            for other in (CONTROL, TEACHER)
        ],
        evaluation.num_resamples,
        most_changed(by_class, MOST_CHANGED),
        sum(one.change < 0 for one in by_class),
        sum(one.change > 0 for one in by_class),
        curves,
        count,
        why,
    )


def of_samples(logits: Tensor, arrays: Arrays) -> Tensor:
    """Return what each sample adds to the quality, (N,) float64 in [0, 1]."""
    if arrays.had is None:
        return (logits.argmax(1) == arrays.targets).double()
    return gains(places(logits, arrays.targets, arrays.had))


def answered(logits: Tensor, arrays: Arrays) -> Tensor:
    """Return whether each sample is right, (N,) bool; of items, whether it is among the first."""
    if arrays.had is None:
        return logits.argmax(1) == arrays.targets
    return places(logits, arrays.targets, arrays.had) <= DEPTH


def corruptions(info: DataInfo, inputs: Tensor) -> dict[str, Corruption]:
    """Return the corruptions that inputs of this kind can have, by name.

    Args:
        info: of the dataset.
        inputs: (B, ...) some of them, un-normalised; by their range pixels are told from features.
    """
    if info.ranks_items:
        return {"hidden_items": without_items}
    if info.vocabulary_size is not None:
        return {} if info.hidden_id is None else {"hidden_words": _hiding(info)}
    if len(info.input_shape) == 3 and float(inputs.min()) >= 0 and float(inputs.max()) <= 1:
        return dict(IMAGES)
    return {"noise": feature_noise}


def _hiding(info: DataInfo) -> Corruption:
    def hidden_words(ids: Tensor, severity: int, seed: int) -> Tensor:
        augmentation = WordAugmentation(seed, mask_words=HIDDEN_SHARE[severity - 1])
        return augmentation.apply(ids, torch.arange(len(ids)), 0, info)

    return hidden_words


def _corrupted(context: Context, measured: Mapping[str, Measured]) -> tuple[list[Curve], int, str]:
    """Return the curves, the number of samples behind them, and why there are none."""
    parts, info = context.parts, context.info
    asked = parts.evaluation.corruptions
    if not asked:
        return [], 0, "evaluation.corruptions names none"
    inputs, some = _some(context)
    possible = corruptions(info, inputs)
    chosen = {name: possible[name] for name in asked if name in possible}
    if not possible:
        return [], 0, f"no token of {info.name} stands for a hidden word"
    if not chosen:
        return [], 0, f"{info.name} can have {', '.join(possible)}, and evaluation.corruptions not"
    clean = {name: _quality(context, measured[name], some, "", 0) for name in NETWORKS}
    curves = []
    for corruption, function in chosen.items():
        series = {name: [clean[name]] for name in NETWORKS}
        for severity in SEVERITIES:
            worse = some._replace(inputs=function(inputs, severity, parts.seed))
            for name in NETWORKS:
                item = measured[name]
                series[name].append(_quality(context, item, worse, corruption, severity))
        curves += [Curve(name, corruption, values) for name, values in series.items()]
    return curves, len(some.targets), ""


def _quality(
    context: Context, item: Measured, arrays: Arrays, corruption: str, severity: int
) -> float:
    """Return the accuracy (NDCG@10 where items are ranked) of a network, asked once."""

    def find() -> Tensor:
        return of_samples(context.predict(item.net, arrays), arrays).mean()

    drawn = (len(arrays.targets), context.parts.seed)  # of the test split, see `_some`
    return context.once(item.trained, find, "corrupted", corruption, severity, *drawn).item()


def _some(context: Context) -> tuple[Tensor, Arrays]:
    """Draw the samples that are corrupted: their inputs, and all of them."""
    test = context.splits.test
    row = 4 * torch.Size(context.info.input_shape).numel()
    most = min(context.parts.evaluation.num_corrupted_samples, max(1, MOST_BYTES // row))
    some = context.sample(len(test.targets), most).sort().values
    inputs, had = test.inputs[some], test.had
    if had is not None:
        place = torch.full((len(test.targets),), -1)
        place[some] = torch.arange(len(some))
        moved = torch.stack([place[had[:, 0]], had[:, 1]], 1)
        had = moved[moved[:, 0] >= 0]
    return inputs, Arrays(inputs, test.targets[some], had)
