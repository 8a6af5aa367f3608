"""Where the answers of a teacher are kept, and filling that place ahead of training."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from distill_lab.contracts import Shapes
from distill_lab.fingerprint import fingerprint, source_hash, targets
from distill_lab.knowledge.cache import AnswerCache
from distill_lab.knowledge.taps import tap_shapes
from distill_lab.losses.objective import Objective
from distill_lab.settings import AUGMENTING
from distill_lab.stages.context import Context
from distill_lab.stages.handoffs import Candidate, ConnectedLoss, TeacherChoice
from distill_lab.training.connect import made_terms, with_pairs
from distill_lab.training.device import device_name
from distill_lab.training.fill import fill
from distill_lab.training.teacher import Teacher

CODE = ("distill_lab.data.module", "distill_lab.training.mixing", "distill_lab.training.teacher")
"""Modules that decide what a teacher is asked and how it is run."""
PARTNERS = ("leave_out_classes", "num_samples")
"""Keys of the regime that decide which samples one can be mixed with."""
ROUNDING_HARDWARE = ("precision", "channels_last", "compile")
"""Keys of the hardware that decide how numbers are rounded, beside the device itself."""


def open_caches(
    context: Context, teacher: TeacherChoice, nets: Sequence[nn.Module], objective: Objective
) -> list[AnswerCache | None]:
    """Return the cache of each teacher under the run's regime; None where it cannot be of use.

    A folder's name is a hash of all that decides an answer, down to its last bit: weights, code,
    data, augmentation, mixing, batch shape and hardware. What only decides how the student learns
    (its network, loss, temperature, optimizer, epochs) is left out: such runs share. The run's tag
    `cache` names the folders, or says why there are none.

    Args:
        context: of the stage.
        teacher: the kept teachers.
        nets: their networks.
        objective: which features it reads, and whether it reads a teacher at all.
    """
    settings, shape = context.parts.cache, context.info.input_shape
    asked = any(term.uses_teacher for term in objective.losses.values())
    if settings.fill == "off" or not asked:
        return [None] * len(nets)
    features = [tap_shapes(net, shape, list(objective.needs.teacher)) for net in nets]
    maps = [tap for shapes in features for tap, shape in shapes.items() if len(shape) > 2]
    if settings.features == "pooled" and maps:
        why = f"not used: the loss reads maps of the teacher ({maps[0]})"
        context.run.set_tags({"cache": f"{why}; cache.features=all keeps them"})
        return [None] * len(nets)
    caches = [
        _open(context, candidate, shapes)
        for candidate, shapes in zip(teacher.kept, features, strict=True)
    ]
    context.run.set_tags({"cache": ", ".join(str(cache.folder) for cache in caches)})
    return list(caches)


def _open(context: Context, candidate: Candidate, features: Shapes) -> AnswerCache:
    settings, info = context.parts.cache, context.info
    inputs = context.splits.train.inputs
    drawn = {key: getattr(context.parts.regime, key) for key in AUGMENTING}
    drawn["crop"] = not isinstance(inputs, Tensor) and inputs.varies
    changing = any(drawn.values())
    partners = {key: getattr(context.parts.regime, key) for key in PARTNERS}
    about = _about(context, candidate, sorted(features), drawn | partners if changing else {})
    key = fingerprint(about)
    folder = Path(settings.folder).resolve() / f"{info.name}-{key[:24]}"
    num_samples = len(context.splits.train.targets)
    return AnswerCache(folder, num_samples, info.num_classes, features, settings, changing)


def _about(
    context: Context, candidate: Candidate, taps: list[str], drawn: dict[str, Any]
) -> dict[str, Any]:
    """Return what decides the answers; the seed does where inputs are drawn by it."""
    parts, architecture, info = context.parts, candidate.architecture, context.info
    numeric = {key: parts.config["hardware"][key] for key in ROUNDING_HARDWARE}
    made_by = [architecture.target.rpartition(".")[0], *targets(parts.config["data"])]
    return {
        "weights": candidate.weights.sha256,
        "architecture": [architecture.target, architecture.args],
        "taps": taps,  # where they are, batch norm is not folded
        "code": source_hash([*CODE, *made_by]),
        "data": [context.data_checksum, info.decisive],
        "inputs": {**drawn, "seed": parts.seed} if drawn else {},
        "batch_size": parts.regime.batch_size,
        "processes": parts.hardware.num_processes,  # each asks about its rows of a batch
        "hardware": [numeric, device_name(parts.hardware), torch.get_num_threads()],
        "torch": [torch.__version__, version("transformers")],
    }


def fill_caches(context: Context, teacher: TeacherChoice, loss: ConnectedLoss) -> None:
    """Fill the teachers' caches with all that a training under the run's regime will ask.

    What is there already is checked and left. The run's metrics say what was computed.

    Raises:
        RunError: weights are missing or altered.
        ValueError: a cache cannot hold a value.
    """
    parts, start = context.parts, perf_counter()
    nets = [context.trained_network(candidate) for candidate in teacher.kept]
    terms = made_terms(with_pairs(parts.loss, loss.pairs))
    objective = Objective(terms, parts.weighting.schedules)
    caches = open_caches(context, teacher, nets, objective)
    rows = parts.regime.batch_size // parts.hardware.num_processes
    teachers = [
        Teacher(net, objective.needs.teacher, rows, cache)
        for net, cache in zip(nets, caches, strict=True)
    ]
    regime, seed = parts.regime, parts.seed
    epochs = sum(map(objective.asks_teachers, range(regime.epochs)))
    fill(teachers, context.info, context.splits, regime, parts.hardware, seed, epochs)
    computed = sum(cache.num_computed for cache in caches if cache is not None)
    context.run.log_metrics({"cache/computed": computed, "seconds": perf_counter() - start})


def usage(caches: Sequence[AnswerCache | None]) -> dict[str, float]:
    """Return what the caches of a training were good for, as metrics; none without a cache."""
    used = [cache for cache in caches if cache is not None]
    asked = sum(cache.num_read + cache.num_computed for cache in used)
    if not asked:
        return {}
    return {
        "cache/share_read": sum(cache.num_read for cache in used) / asked,
        "cache/mib": sum(cache.num_bytes for cache in used) / 2**20,
    }
