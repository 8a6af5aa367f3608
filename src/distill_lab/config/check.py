"""The whole config against the signatures of what it names; every problem at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any, Literal, get_args, get_origin

from distill_lab import settings, temperature
from distill_lab.config.compose import SEARCH
from distill_lab.config.groups import networks, options, ready
from distill_lab.config.ranges import out_of_range
from distill_lab.config.rules import check
from distill_lab.config.signature import (
    OURS,
    Parameter,
    conforms,
    describe,
    has_method,
    signature_of,
)
from distill_lab.config.space import problems_of_space
from distill_lab.contracts import Component, Parts
from distill_lab.errors import nearest
from distill_lab.own_code import module_file

MISSING = "???"
SUPPLIED = ("input_shape", "num_classes", "vocabulary_size", "mask_id")
"""Given to a network by the data."""
NETWORKS = ("teacher", "student")
SETTINGS = (
    "selection",
    "chain",
    "knowledge",
    "design",
    "regime",
    SEARCH,
    "weighting",
    "cache",
    "evaluation",
    "variants",
    "price",
    "hardware",
    "tracking",
)
SETTINGS_PREFIX = "distill_lab.settings."
TARGETS = {
    "data": "distill_lab.data.",
    "teacher": "distill_lab.models.",
    "student": "distill_lab.models.",
    "loss": "distill_lab.losses.",
    "temperature": "distill_lab.temperature.",
    "compress": "distill_lab.compress.",
}
OF_PARTS = ("loss", "compress")
"""Sections that hold named parts."""
OPEN = (TARGETS["data"], TARGETS["teacher"], TARGETS["loss"])
"""What code of your own may take the place of."""
WITHOUT_TORCH = (SETTINGS_PREFIX, TARGETS["data"], TARGETS["temperature"])
"""Where parts are that can be made in no time; the others are made by the preflight."""
VALUES: dict[str, Any] = {
    "name": str | None,
    "seed": int,
    "reuse": Literal["off", "same_code", "any_code"],
}
SECTIONS = (*VALUES, *TARGETS, *SETTINGS)


def problems(config: dict[str, Any]) -> list[str]:
    """Return one sentence per problem, each naming its dotted key; empty when all is right."""
    found = [
        f"{key}: there is no such section.{nearest(key, SECTIONS)} Sections: {', '.join(SECTIONS)}."
        for key in config
        if key not in SECTIONS
    ]
    found += [f"{key}: is missing.{_hint(key)}" for key in SECTIONS if key not in config]
    found += _problems_of_values(config)
    for section in (*TARGETS, *SETTINGS):
        if section in config:
            found += _problems_of_section(section, config[section])
    if not found:
        found += [
            *_problems_of_keep(config),
            *_problems_of_schedules(config),
            *_problems_of_dot(config),
            *_problems_of_processes(config),
            *_problems_of_fsdp(config),
            *_problems_of_chain(config),
            *_problems_of_variants(config),
            *_problems_of_search(config),
        ]
    return list(dict.fromkeys(found))


def _problems_of_keep(config: dict[str, Any]) -> Iterator[str]:
    """Hold the number of teachers that are kept against the number that are trained."""
    selection = config["selection"]
    trained = len(grid(config["teacher"])) * len(selection["seeds"])
    given = selection["from_run"] or selection["weights"]
    num_candidates = 1 if given else trained
    if selection["keep"] > num_candidates:
        yield (
            f"selection.keep: must be <= {num_candidates}, the number of teacher candidates, "
            f"got {selection['keep']}."
        )


def _problems_of_schedules(config: dict[str, Any]) -> Iterator[str]:
    """Hold the terms whose weights change against the terms there are."""
    terms, schedules = config["loss"], config["weighting"]["schedules"]
    if terms and all("stop" in schedules.get(name, ()) for name in terms):
        yield "weighting.schedules: every term stops, and then nothing is trained."
    for name in schedules:
        if name not in terms:
            yield (
                f"weighting.schedules.{name}: there is no such term in this run."
                f"{nearest(name, terms)} Terms: {', '.join(terms)}."
            )


def _problems_of_dot(config: dict[str, Any]) -> Iterator[str]:
    """Hold the optimizers against the precision; `fit` does so too, for who calls it."""
    regimes = {"regime": config["regime"], "selection.regime": config["selection"]["regime"]}
    for name, regime in regimes.items():
        if regime["optimizer"] == "dot" and config["hardware"]["precision"] == "16-mixed":
            yield (
                f"{name}.optimizer: dot has two gradients, and 16-mixed scales one. "
                "Set hardware.precision=bf16-mixed or 32-true."
            )


def _problems_of_processes(config: dict[str, Any]) -> Iterator[str]:
    """Hold the batches against the processes that share them; `fit` does so too."""
    number = settings_of(config["hardware"]).num_processes
    regimes = {"regime": config["regime"], "selection.regime": config["selection"]["regime"]}
    for name, size in ((name, regime["batch_size"]) for name, regime in regimes.items()):
        if size % number:
            below, above = size - size % number, size - size % number + number
            fix = f"{below} or {above}" if below else f"{above}"
            yield (
                f"{name}.batch_size: must be a multiple of the {number} processes that share a "
                f"batch (hardware.devices times hardware.num_nodes), got {size}; try {fix}."
            )


def _problems_of_fsdp(config: dict[str, Any]) -> Iterator[str]:
    """Name what reads weights or gradients as a whole, where each process has a part of them."""
    if config["hardware"]["strategy"] != "fsdp":
        return
    with_it = "with hardware.strategy=fsdp; hardware.strategy=ddp can do it."
    regimes = {"regime": config["regime"], "selection.regime": config["selection"]["regime"]}
    for name, regime in regimes.items():
        if regime["optimizer"] == "dot":
            yield f"{name}.optimizer: must be sgd or adamw {with_it}"
        for key in ("ema_decay", "clip_norm"):
            if regime[key] is not None:
                yield f"{name}.{key}: must be null {with_it}"
    if config["weighting"]["balance"] != "off":
        yield f"weighting.balance: must be off {with_it}"


def _problems_of_chain(config: dict[str, Any]) -> Iterator[str]:
    """Hold the assistants against the architectures there are, and the passes against rounds."""
    known, chain = options("architecture"), config["chain"]
    for name in chain["assistants"]:
        if name not in known:
            yield (
                f"chain.assistants: there is no architecture {name!r}.{nearest(name, known)} "
                f"Architectures: {', '.join(known)}."
            )
    rounds = config["evaluation"]["refine"]["rounds"]
    if rounds > 0 and settings_of(chain).num_passes > 1:
        yield (
            f"evaluation.refine.rounds: must be 0 where there is a chain of passes, got {rounds}. "
            "Refine its last pass by itself, with selection.from_run=<run of the pass before>."
        )


def _problems_of_variants(config: dict[str, Any]) -> Iterator[str]:
    """Hold the chains against the steps there are."""
    steps, chains = config["compress"], config["variants"]["chains"]
    named = {name for chain in chains or () for name in chain}
    for name in sorted(named - steps.keys()):
        yield (
            f"variants.chains: there is no step {name!r} in this run.{nearest(name, steps)} "
            f"Steps: {', '.join(steps) or 'none'}; set compress=[{name}]."
        )
    for name in steps:
        if chains is not None and name not in named:
            yield f"compress.{name}: is in no chain of variants.chains; add it to one or drop it."


def _problems_of_search(config: dict[str, Any]) -> Iterator[str]:
    """Hold the space of a search against its sampler, and the search against the run."""
    search = config[SEARCH]
    if not search["space"]:
        return
    yield from problems_of_space(search, config)
    rounds = config["evaluation"]["refine"]["rounds"]
    if rounds > 0:
        yield (
            f"evaluation.refine.rounds: must be 0 where there is a search, got {rounds}. "
            "Refine the best trial by itself."
        )
    has_passes = settings_of(config["chain"]).num_passes > 1
    has_passes |= any(str(key).partition(".")[0] == "chain" for key in search["space"])
    if search["pruner"] != "off" and has_passes:
        yield (
            f"{SEARCH}.pruner: must be off where there is a chain of passes, got "
            f"{search['pruner']!r}: epochs of different passes cannot be compared."
        )


def build(config: dict[str, Any], choices: dict[str, str] | None = None) -> Parts:
    """Make the parts of a run from a config in which no problem was found.

    Args:
        config: nested plain values.
        choices: which option of each group it is made of, for logging.
    """
    made = {name: settings_of(config[name]) for name in SETTINGS if name != SEARCH}
    search = settings_of(config[SEARCH]) if SEARCH in config else None
    return Parts(
        name=config["name"],
        seed=config["seed"],
        reuse=config["reuse"],
        data=component(config["data"]).make(),
        teachers=grid(config["teacher"]),
        students=students_of(config["student"]),
        loss={name: component(node) for name, node in config["loss"].items()},
        temperature=component(config["temperature"]),
        compress={name: component(node) for name, node in config["compress"].items()},
        architectures={name: component(node) for name, node in networks().items()},
        config={key: value for key, value in config.items() if key != SEARCH},
        search=search if search is not None and search.space else None,
        choices={"loss": "+".join(config["loss"]), **(choices or {})},
        **made,
    )


def component(node: dict[str, Any]) -> Component:
    """Return what a `_target_` node names."""
    return Component(node["_target_"], {k: v for k, v in node.items() if k != "_target_"})


def grid(node: dict[str, Any]) -> tuple[Component, ...]:
    """Return every point of a network's grid; a knob is a grid where it is `{grid: [...]}`."""
    args = {key: value for key, value in node.items() if key != "_target_"}
    axes = [value["grid"] if _is_grid(value) else [value] for value in args.values()]
    return tuple(
        Component(node["_target_"], dict(zip(args, point, strict=True))) for point in product(*axes)
    )


def students_of(node: dict[str, Any]) -> tuple[Component, ...]:
    """Return every point of the student's grid."""
    return tuple(replace(one, is_student=True) for one in grid(node))


def _problems_of_values(config: dict[str, Any]) -> Iterator[str]:
    for key, kind in VALUES.items():
        if config.get(key) == MISSING:
            yield f"{key}: has no value; set {key}=<{describe(kind)}>."
        elif key in config and not conforms(config[key], kind):
            yield _wrong(key, config[key], kind)


def _problems_of_section(section: str, node: Any) -> Iterator[str]:
    if not isinstance(node, dict):
        yield f"{section}: must be a group of keys, got {_shown(node)}.{_hint(section)}"
    elif section not in OF_PARTS:
        yield from _problems_of_node(section, node, TARGETS.get(section) or _settings(section))
    elif section == "loss" and not node:
        yield f"loss: needs at least one term.{_hint(section)}"
    else:
        what = {"loss": "term", "compress": "step"}[section]
        for name, part in node.items():
            if isinstance(part, dict) and "_target_" in part:
                yield from _problems_of_node(f"{section}.{name}", part, TARGETS[section])
            else:
                others = [other for other in node if other != name]
                near = nearest(name, others)
                if name in options(section):
                    near += f" To add it, set {section}=[{','.join([*others, name])}]."
                yield f"{section}.{name}: there is no such {what} in this run.{near}"


def _hint(section: str) -> str:
    choice = {
        "loss": "loss=[ce,kd]",
        "compress": "compress=[prune_structured]",
        "seed": "seed=0",
        "reuse": "reuse=same_code",
    }
    slots = {**{name: f"architecture@{name}" for name in NETWORKS}, SEARCH: f"search@{SEARCH}"}
    slot = slots.get(section, section)
    return f" Choose one, e.g. {choice[section]}." if section in choice else f" Set {slot}=<name>."


def _settings(name: str) -> str:
    return f"{SETTINGS_PREFIX}{name.rpartition('.')[2].capitalize()}"


def _problems_of_node(path: str, node: dict[str, Any], prefix: str) -> Iterator[str]:
    target = node.get("_target_")
    if not isinstance(target, str) or not (target.startswith(prefix) or _is_own(target, prefix)):
        or_own = ", or be in a module of the working directory" if prefix in OPEN else ""
        yield f"{path}._target_: must start with {prefix!r}{or_own}, got {_shown(target)}."
        return
    try:
        if path == "data" and target.startswith(OURS) and not has_method(target, "load"):
            name = target.rpartition(".")[2]
            raise ValueError(f"{name} is no dataset, it has no method 'load'.")
        supplied = SUPPLIED if path in NETWORKS else ()
        known = {k: p for k, p in signature_of(target).items() if k not in supplied}
    except ValueError as error:
        yield f"{path}._target_: {error}"
        return
    found = list(_problems_of_args(path, node, known))
    ours = target.startswith(OURS)
    for key in known:
        if ours and known[key].kind is dict and isinstance(node.get(key), dict):
            found += _problems_of_node(f"{path}.{key}", node[key], _settings(key))
    yield from found
    if not ours:  # the preflight makes it
        return
    args = _mended(path, node, known, found)
    if args.keys() == known.keys():
        make = _made if prefix.startswith(WITHOUT_TORCH) else check
        for point in grid({**args, "_target_": target}):
            yield from out_of_range(path, target, point.args, partial(make, target))


def _is_own(target: str, prefix: str) -> bool:
    return prefix in OPEN and module_file(target.rpartition(".")[0]) is not None


def _mended(
    path: str, node: dict[str, Any], known: dict[str, Parameter], found: list[str]
) -> dict[str, Any]:
    """Put ready values in the place of wrong and missing ones, which then hide no other fault."""
    sound = ready(node["_target_"])
    for key, parameter in known.items():
        if parameter.kind is dict:
            sound[key] = {"_target_": _settings(key), **ready(_settings(key))}
    wrong = {problem.removeprefix(f"{path}.").split(":")[0].split(".")[0] for problem in found}
    right = {key: node[key] for key in known if key in node and key not in wrong}
    return {**sound, **right}


def _problems_of_args(
    path: str, node: dict[str, Any], known: dict[str, Parameter]
) -> Iterator[str]:
    owner = node["_target_"].rpartition(".")[2]
    for key, value in node.items():
        if key == "_target_":
            continue
        if key not in known:
            yield (
                f"{path}.{key}: {owner} takes no such argument.{nearest(key, known)} "
                f"It takes {', '.join(known) or 'none'}."
            )
        elif value == MISSING:
            yield _required(f"{path}.{key}", owner, known[key].kind)
        else:
            yield from _problems_of_value(f"{path}.{key}", value, known[key].kind)
    for key, parameter in known.items():
        if key not in node and parameter.required:
            yield _required(f"{path}.{key}", owner, parameter.kind)


def _required(path: str, owner: str, kind: Any) -> str:
    return f"{path}: {owner} requires it; set {path}=<{describe(kind)}>."


def _problems_of_value(path: str, value: Any, kind: Any) -> Iterator[str]:
    if path.partition(".")[0] in NETWORKS and isinstance(value, dict):
        wrong = [key for key in value if key != "grid"]
        for key in wrong:
            yield f"{path}.{key}: only 'grid' can stand here.{nearest(key, ['grid'])}"
        if not wrong and not _is_grid(value):
            yield f"{path}.grid: must be a list of candidates, not empty, got {value!r}."
        elif not wrong:
            for item in value["grid"]:
                yield from _problems_of_value(f"{path}.grid", item, kind)
    elif not conforms(value, kind):
        yield _wrong(path, value, kind)


def _wrong(path: str, value: Any, kind: Any) -> str:
    words = [word for arg in (kind, *get_args(kind)) for word in get_args(arg)]
    near = nearest(str(value), [word for word in words if isinstance(word, str)])
    if get_origin(kind) is list and value in words:
        near = f" Set {path}=[{value}]."
    size = " (numbers must be finite, integers within 64 bits)" if _is_huge(value) else ""
    return f"{path}: must be {describe(kind)}, got {_shown(value)}{size}.{near}"


def _shown(value: Any) -> str:
    """Return a plain value as it is written in a yaml."""
    is_word = value is None or isinstance(value, bool)
    return json.dumps(value) if is_word else repr(value)


def _is_huge(value: Any) -> bool:
    return isinstance(value, int | float) and not abs(value) < 2**63


def settings_of(node: dict[str, Any]) -> Any:
    """Construct the settings or temperature that a sound node names; nested ones too."""
    args = {
        key: settings_of(value) if isinstance(value, dict) and "_target_" in value else value
        for key, value in node.items()
        if key != "_target_"
    }
    module = {"settings": settings, "temperature": temperature}[node["_target_"].split(".")[1]]
    return getattr(module, node["_target_"].rpartition(".")[2])(**args)


def _made(target: str, args: dict[str, Any]) -> Any:
    if target.startswith(TARGETS["data"]):
        return Component(target, args).make()
    return settings_of({**args, "_target_": target})


def _is_grid(value: Any) -> bool:
    is_one = isinstance(value, dict) and list(value) == ["grid"]
    return is_one and isinstance(value["grid"], list) and bool(value["grid"])
