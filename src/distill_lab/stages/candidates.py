"""Candidate teachers, each trained once on a store, by whichever process is first at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from filelock import Timeout
from torch import nn

from distill_lab.contracts import Component, Parts, grid_labels
from distill_lab.data.checksum import digest
from distill_lab.data.pretrained import encoder_arrays
from distill_lab.environment import environment
from distill_lab.errors import RunError
from distill_lab.fingerprint import REUSE_TAG, fingerprint, source_hash, targets
from distill_lab.measure.cost import measure_cost
from distill_lab.measure.scores import score
from distill_lab.models.start import start_encoder
from distill_lab.settings import Selection
from distill_lab.stages.context import NUM_BINS, Context
from distill_lab.stages.handoffs import HANDOFF, Candidate, from_plain, to_plain
from distill_lab.training.device import numeric
from distill_lab.training.supervised import Supervised

LATENCY_REPEATS = 30  # timed forward passes per candidate; latency is shown, not ranked by
FOREVER = -1.0  # seconds to wait for a lock


@dataclass(frozen=True)
class Point:
    """One of the networks that stage 1 chooses from, not trained yet."""

    label: str
    architecture: Component
    seed: int


@dataclass(frozen=True)
class Trained:
    """A candidate and its quality on validation after each epoch."""

    candidate: Candidate
    qualities: list[float]


def points(parts: Parts) -> list[Point]:
    """Return every point of the teacher's grid, once per seed."""
    pairs = list(product(parts.teachers, parts.selection.seeds))
    labels = grid_labels([architecture for architecture, _ in pairs])
    return [Point(label, *pair) for label, pair in zip(labels, pairs, strict=True)]


def obtain(context: Context, asked: Sequence[Point]) -> list[Trained]:
    """Train the candidates that are not in the store yet, each as a run below the stage's.

    Those that another process is at are left for last, so that several processes which want the
    same candidates share the work.

    Raises:
        DataError: the weights that they start from cannot be had.
        RunError: a training failed.
    """
    done: dict[int, Trained] = {}
    first = _first_weights(context.parts.selection)
    for patience in (0.0, FOREVER):
        for number in (number for number in range(len(asked)) if number not in done):
            keys = _fingerprints(context, asked[number], first)
            lock = context.store.turn(keys["fingerprint"], context.run.id)
            try:
                lock.acquire(timeout=patience)
            except Timeout:
                continue
            try:
                place = f"{number + 1}/{len(asked)}"
                known = _known(context, asked[number], keys)
                done[number] = known or _train(context, asked[number], keys, place, first)
            finally:
                lock.release()
    return [
        replace(one, candidate=replace(one.candidate, label=point.label))
        for point, (_, one) in zip(asked, sorted(done.items()), strict=True)
    ]


def _first_weights(selection: Selection) -> dict[str, np.ndarray]:
    """Return the weights that the encoders start from; none where they start from random ones."""
    if selection.pretrained is None:
        return {}
    return encoder_arrays(selection.pretrained, Path(selection.folder))


def _fingerprints(context: Context, point: Point, first: dict[str, np.ndarray]) -> dict[str, str]:
    """Return hashes of all that can change the candidate: with the code it reaches, and without."""
    parts, info = context.parts, context.info
    regime = parts.config["selection"]["regime"]
    how = [regime, parts.selection.label_smoothing]
    about = (
        "candidate",
        [point.architecture.target, point.architecture.args, point.seed, *how],
        digest(first),
        numeric(parts.hardware),
        [context.data_checksum, info.decisive],
    )
    network = point.architecture.target.rpartition(".")[0]
    code = source_hash([__name__, network, *targets(regime), *targets(parts.config["data"])])
    hashes = {"same_code": fingerprint(*about, code), "any_code": fingerprint(*about)}
    return {REUSE_TAG[how]: value for how, value in hashes.items()}


def _known(context: Context, point: Point, keys: dict[str, str]) -> Trained | None:
    """Return a candidate that the store has, weights and all, as far as it may be reused."""
    if context.parts.reuse == "off":
        return None
    tag = REUSE_TAG[context.parts.reuse]
    found = context.store.find_finished({tag: keys[tag]})
    if found is None:
        return None
    try:
        known: Trained = from_plain(Trained, context.store.read_json(found.id, HANDOFF))
        weights = known.candidate.weights
        context.store.verify(weights.run_id, weights.path, weights.sha256)
    except (RunError, KeyError, TypeError) as error:
        print(f"  candidate {point.label} is trained again: {error}")
        return None
    return known


def _train(
    context: Context,
    point: Point,
    keys: dict[str, str],
    place: str,
    first: dict[str, np.ndarray],
) -> Trained:
    parts, info = context.parts, context.info
    smoothing = parts.selection.label_smoothing
    how = {
        "regime": parts.config["selection"]["regime"],
        "label_smoothing": smoothing,
        "pretrained": parts.selection.pretrained,
    }
    name = f"candidate {point.label}, seed {point.seed}"
    about = {
        "kind": "candidate",
        "data": info.name,
        "data_checksum": context.data_checksum,
        "seed": str(point.seed),
        **environment(),
        **keys,
    }
    with context.store.start(name, about, context.run.id) as run:
        run.log_params({"architecture": to_plain(point.architecture), "selection": how})
        inside = replace(context, run=run)
        net = inside.new_network(point.architecture, point.seed)
        if first:
            _start(net, first, parts.selection)
        regime = parts.selection.regime
        trainee = Supervised(net, regime, info.num_classes, point.seed, smoothing)
        fitted = inside.fit(trainee, point.seed, f"teacher {place} {point.label}")
        validation = inside.splits.validation
        logits = inside.predict(fitted.net, validation)
        scores = score(logits, validation.targets, NUM_BINS, validation.had)
        cost = measure_cost(fitted.net, info.input_shape, LATENCY_REPEATS)
        weights = inside.save_weights(fitted.net, "teacher")
        candidate = Candidate("", point.architecture, point.seed, weights, scores, cost, 0.0)
        trained = Trained(candidate, [row[f"val/{info.quality.key}"] for row in fitted.curve])
        run.log_json(to_plain(trained), HANDOFF)
    return trained


def _start(net: nn.Module, first: dict[str, np.ndarray], selection: Selection) -> None:
    try:
        start_encoder(net, {name: torch.from_numpy(array) for name, array in first.items()})
    except ValueError as error:
        raise RunError(f"selection.pretrained: of {selection.pretrained}: {error}") from error
