"""The whole config against the signatures of what it names; every problem at once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, Literal, get_args

from distill_lab import settings, temperature
from distill_lab.config.signature import conforms, describe, signature_of
from distill_lab.contracts import Component, Parts
from distill_lab.errors import ConfigError, nearest

MISSING = "???"
SUPPLIED = ("input_shape", "num_classes")  # given to every network by the data
NETWORKS = ("teacher", "student")
SETTINGS = ("selection", "knowledge", "design", "regime", "evaluation", "hardware", "tracking")
TARGETS = {
    "data": "distill_lab.data.",
    "teacher": "distill_lab.models.",
    "student": "distill_lab.models.",
    "loss": "distill_lab.losses.",
    "temperature": "distill_lab.temperature.",
}
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
    found += [f"{key}: is missing." for key in SECTIONS if key not in config]
    found += _problems_of_values(config)
    for section in (*TARGETS, *SETTINGS):
        found += _problems_of_section(section, config.get(section))
    return list(dict.fromkeys(found))


def build(config: dict[str, Any]) -> Parts:
    """Make the parts of a run from a config.

    Raises:
        ConfigError: the config has problems; lists them all.
    """
    found = problems(config)
    if found:
        raise ConfigError(found)
    made = {name: settings_of(config[name]) for name in SETTINGS}
    data = component(config["data"])
    try:
        dataset = data.make()
    except ValueError as error:
        raise ConfigError([f"data.{error}"]) from error
    return Parts(
        name=config["name"],
        seed=config["seed"],
        reuse=config["reuse"],
        data=dataset,
        teachers=grid(config["teacher"]),
        students=grid(config["student"]),
        loss={name: component(node) for name, node in config["loss"].items()},
        temperature=component(config["temperature"]),
        config=config,
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


def _problems_of_values(config: dict[str, Any]) -> Iterator[str]:
    for key, kind in VALUES.items():
        if key in config and not conforms(config[key], kind):
            yield _wrong(key, config[key], kind)


def _problems_of_section(section: str, node: Any) -> Iterator[str]:
    if not isinstance(node, dict):
        yield f"{section}: must be a group of keys, got {node!r}. Choose one: {section}=<name>."
    elif section != "loss":
        yield from _problems_of_node(section, node, TARGETS.get(section, "distill_lab.settings."))
    elif not node:
        yield "loss: needs at least one term, e.g. loss=[ce,kd]."
    else:
        for name, term in node.items():
            if isinstance(term, dict) and "_target_" in term:
                yield from _problems_of_node(f"loss.{name}", term, TARGETS["loss"])
            else:
                near = nearest(name, [other for other in node if other != name])
                yield f"loss.{name}: there is no such term in this run.{near}"


def _problems_of_node(path: str, node: dict[str, Any], prefix: str) -> Iterator[str]:
    target = node.get("_target_")
    if not isinstance(target, str) or not target.startswith(prefix):
        yield f"{path}._target_: must start with {prefix!r}, got {target!r}."
        return
    try:
        known = {k: p for k, p in signature_of(target).items() if k not in SUPPLIED}
    except ValueError as error:
        yield f"{path}._target_: {error}"
        return
    found = list(_problems_of_args(path, node, known))
    found += _problems_of_nested(path, node, prefix)
    yield from found
    if not found and prefix in ("distill_lab.settings.", TARGETS["temperature"]):
        yield from _problems_of_ranges(path, node)


def _problems_of_args(path: str, node: dict[str, Any], known: dict[str, Any]) -> Iterator[str]:
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
        if not _is_grid(value):
            yield f"{path}: must be {describe(kind)}, or {{grid: [...]}} of them, got {value!r}."
            return
        for item in value["grid"]:
            yield from _problems_of_value(f"{path}.grid", item, kind)
    elif not conforms(value, kind):
        yield _wrong(path, value, kind)


def _wrong(path: str, value: Any, kind: Any) -> str:
    near = nearest(str(value), [str(arg) for arg in get_args(kind) if isinstance(arg, str)])
    return f"{path}: must be {describe(kind)}, got {value!r}.{near}"


def _problems_of_nested(path: str, node: dict[str, Any], prefix: str) -> Iterator[str]:
    for key, value in node.items():
        if isinstance(value, dict) and "_target_" in value:
            yield from _problems_of_node(f"{path}.{key}", value, prefix)


def _problems_of_ranges(path: str, node: dict[str, Any]) -> Iterator[str]:
    """Construct a torch-free class; its own range checks speak."""
    try:
        settings_of(node)
    except ValueError as error:
        yield f"{path}.{error}"


def settings_of(node: dict[str, Any]) -> Any:
    """Construct the settings or temperature that a sound node names; nested ones too."""
    args = {
        key: settings_of(value) if isinstance(value, dict) and "_target_" in value else value
        for key, value in node.items()
        if key != "_target_"
    }
    module = {"settings": settings, "temperature": temperature}[node["_target_"].split(".")[1]]
    return getattr(module, node["_target_"].rpartition(".")[2])(**args)


def _is_grid(value: Any) -> bool:
    is_one = isinstance(value, dict) and list(value) == ["grid"]
    return is_one and isinstance(value["grid"], list) and bool(value["grid"])
