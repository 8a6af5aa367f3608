"""Override strings, read and judged one by one before anything is composed."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, ValueType
from hydra.core.plugins import Plugins
from hydra.errors import HydraException

from distill_lab.config.groups import groups, is_group, may_be_empty, options, takes_several
from distill_lab.errors import nearest

LAUNCHER = "hydra/launcher"
EXTRAS = {"joblib": "joblib", "ray": "ray", "submitit_local": "slurm", "submitit_slurm": "slurm"}
"""Launchers that are not part of Hydra -> the extra that has them."""


@dataclass(frozen=True)
class Request:
    """What the command line asked for, read but not yet composed.

    Attributes:
        overrides: as given.
        sweeps: the keys that take several values, in order.
        problems: one sentence per override that cannot be right.
        composable: the overrides that can, a sweep with its first value, in a form in which an
            unknown key composes too, so that the check of the whole config reports it among the
            others.
    """

    overrides: list[str]
    sweeps: list[str]
    problems: list[str]
    composable: list[str]


def read(overrides: Sequence[str]) -> Request:
    """Read override strings and judge each by itself."""
    parser, known = OverridesParser.create(), groups()
    problems: list[str] = []
    composable, sweeps = [], []
    for text in overrides:
        try:
            override = parser.parse_override(text)
        except HydraException as error:
            problems.append(_unreadable(text, str(error).splitlines()[0]))
            continue
        found = list(_problems_of(override, known))
        problems += found
        if override.is_sweep_override():
            sweeps.append(override.get_key_element().lstrip("+"))
        if not found:
            composable.append(_lenient(override, text))
    return Request(list(overrides), sweeps, problems, composable)


def _unreadable(text: str, reason: str) -> str:
    return (
        f"{text!r} is not an override of the form key=value ({reason}). A value with spaces, "
        "commas or special characters goes in quotes: 'name=\"a, b\"'."
    )


def _problems_of(override: Override, known: dict[str, list[str]]) -> Iterator[str]:
    """Check what needs no other override: the key's form, and the options of a group."""
    group, package = override.key_or_group, override.package
    key = group if package is None else f"{group}@{package}"
    swept = override.is_sweep_override()
    if swept and override.value_type in (ValueType.GLOB_CHOICE_SWEEP, ValueType.INTERVAL_SWEEP):
        yield f"{key}: can only be swept value by value: a,b,c or choice(...) or range(...)."
    elif swept and _is_hydra(override):
        yield f"{key}: holds for the whole sweep; give it one value."
    elif group == LAUNCHER and override.value() not in launchers():
        yield f"{key}: {_no_launcher(override.value())}"
    elif group == f"{LAUNCHER}.n_jobs".replace("/", ".") and override.value() == 0:
        yield f"{key}: must be how many jobs run at once, or -1 for one per core, got 0."
    elif not group:
        yield _unreadable(str(override.input_line), "there is no key before the =")
    elif is_group(group):
        if key not in known:
            places = [name for name in known if name.partition("@")[0] == group]
            yield f"{key}: choose it as {' or '.join(places)}."
        elif override.type != OverrideType.DEL:
            for value in override.sweep_iterator() if swept else [override.value()]:
                yield from _problems_of_choice(key, value, known[key])
        elif not isinstance(override.value(), str | None):
            yield f"{key}: is taken away by ~{key}, got ~{key}={override.value()!r}."
    elif (package is not None or "/" in group) and not _is_hydra(override):
        yield f"{key}: there is no such group.{nearest(key, known)} Groups: {', '.join(known)}."


def _problems_of_choice(key: str, value: Any, known: list[str]) -> Iterator[str]:
    if isinstance(value, dict):  # values for the group's keys
        return
    names = value if isinstance(value, list) else [value]
    if isinstance(value, list) and not takes_several(key):
        yield f"{key}: takes one option, got {value!r}."
    elif not names and not may_be_empty(key):
        example = "ce" if "ce" in known else known[0]
        yield f"{key}: needs at least one option, e.g. {key}=[{example}]."
    for name in names:
        if name not in known:
            listed = _short(known) if known else "none"
            given = "null" if name is None else repr(name)
            yield f"{key}: there is no option {given}.{nearest(name, known)} Options: {listed}."
    for name, count in Counter(map(str, names)).items():
        if count > 1:
            yield f"{key}: names {name!r} {count} times; name it once."


def launchers() -> list[str]:
    """Return the launchers that are installed, and those of your own `conf/`, sorted."""
    Plugins.instance()  # which imports them, and they make themselves known
    known = [name.removesuffix(".yaml") for name in ConfigStore.instance().list(LAUNCHER)]
    return sorted({*known, *options(LAUNCHER)})


def _no_launcher(name: Any) -> str:
    known = launchers()
    if str(name) in EXTRAS:
        extra = f"pip install 'distill-lab[{EXTRAS[str(name)]}]'"
        return f"{name!r} is an extra that is not installed: {extra}."
    near = nearest(name, [*known, *EXTRAS])
    return f"there is no launcher {name!r}.{near} Launchers: {', '.join(known)}."


def _is_hydra(override: Override) -> bool:
    return override.key_or_group.replace("/", ".").partition(".")[0] == "hydra"


def _lenient(override: Override, text: str) -> str:
    """Let an unknown key compose: the check that follows names it together with all others."""
    if override.is_sweep_override():
        text = f"{override.get_key_element()}={next(iter(override.sweep_string_iterator()))}"
    is_value = not is_group(override.key_or_group) and not _is_hydra(override)
    return f"++{text}" if is_value and override.type == OverrideType.CHANGE else text


def _short(names: list[str]) -> str:
    width = shutil.get_terminal_size().columns * 3
    text = ", ".join(names)
    return text if len(text) <= width else text[:width] + " ..."
