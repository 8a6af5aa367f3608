"""What a search may vary: each key of its space as an axis, and what is wrong with one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import isfinite, prod
from typing import Any

from distill_lab.config.compose import SEARCH
from distill_lab.config.groups import groups, is_group
from distill_lab.config.signature import conforms, signature_of
from distill_lab.errors import nearest
from distill_lab.naming import split_override

NOT_SEARCHED = (
    "hydra",
    "tracking",
    "name",
    "reuse",
    "experiments",
    "evaluation.refine",
    SEARCH,
    "search",
)
"""Beginnings of keys that say where, whether and how often a run is done, not what it is."""
OF_A_RANGE = ("low", "high", "log", "step")
MOST_POINTS = 10_000  # of a grid
PLAIN = re.compile(r"[A-Za-z_][\w./-]*")
WORDS = ("null", "true", "false", "nan", "inf")
"""Texts that would be read as something else without quotes."""


@dataclass(frozen=True)
class Choices:
    """A key whose values are listed, as they are written in an override."""

    key: str
    values: tuple[str, ...]

    @property
    def probes(self) -> tuple[str, ...]:
        """Values that tell whether the key can be searched: all."""
        return self.values

    @property
    def points(self) -> tuple[str, ...]:
        """Values of a grid: all."""
        return self.values


@dataclass(frozen=True)
class Range:
    """A key whose values are numbers from `low` to `high`.

    Attributes:
        log: orders of magnitude are as likely as each other.
        step: between neighbours, counted from `low`; None: any number in between.
        whole: the numbers are integers.
    """

    key: str
    low: float
    high: float
    log: bool
    step: float | None
    whole: bool

    @property
    def probes(self) -> tuple[str, ...]:
        """Values that tell whether the key can be searched: the two ends."""
        return written(self.low), written(self.high)

    @property
    def points(self) -> tuple[float, ...]:
        """Values of a grid; the last may be below `high`."""
        kind, step = int if self.whole else float, self.step or 1
        return tuple(kind(round(self.low + n * step, 12)) for n in range(self.num_steps + 1))

    @property
    def num_steps(self) -> int:
        """How many steps lie between the ends."""
        return int((self.high - self.low) / (self.step or 1) + 1e-9)


Axis = Choices | Range


def axes(space: dict[str, Any], config: dict[str, Any]) -> list[Axis]:
    """Return the axes of a space in which no problem was found.

    Args:
        space: of the settings of the search.
        config: of the run, which says whether a key takes integers alone.
    """
    made: list[Axis] = []
    for key, given in space.items():
        if isinstance(given, list):
            made.append(Choices(key, tuple(map(written, given))))
        else:
            low, high, step = given["low"], given["high"], given.get("step")
            whole = _takes_integers(config, key, [low, high, step])
            made.append(Range(key, low, high, given.get("log", False), step, whole))
    return made


def is_about_search(override: str) -> bool:
    """Tell whether an override is of the search and not of the run.

    >>> is_about_search("search@regime.search=grid"), is_about_search("regime.lr=0.1")
    (True, False)
    """
    key = split_override(override)[0]
    return key in (SEARCH, f"search@{SEARCH}") or key.startswith(f"{SEARCH}.")


def written(value: Any) -> str:
    """Return a plain value as it is written in an override.

    >>> written([0.5, None, True]), written({"grid": [[32], "a b"]}), written("null")
    ('[0.5,null,true]', "{grid:[[32],'a b']}", "'null'")
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(written, value))}]"
    if isinstance(value, dict):
        pairs = (f"{key}:{written(item)}" for key, item in value.items())
        return f"{{{','.join(pairs)}}}"
    if isinstance(value, str) and (not PLAIN.fullmatch(value) or value.lower() in WORDS):
        escaped = value.replace("'", "\\'")
        return f"'{escaped}'"
    return str(value)


def problems_of_space(search: dict[str, Any], config: dict[str, Any]) -> Iterator[str]:
    """Yield one sentence per problem of a space that needs no run to be seen."""
    space, sampler = search["space"], search["sampler"]
    where = f"{SEARCH}.space"
    sound = True
    for key, given in space.items():
        for problem in (_problem_of_key(key, given), _problem_of_values(given)):
            if problem:
                sound = False
                yield f"{where}: {key}: {problem}"
    if not sound:
        return
    made = axes(space, config)
    if sampler == "cma_es":
        yield from (f"{where}: {problem}" for problem in _problems_for_cma_es(made))
    if sampler == "grid":
        yield from (f"{where}: {problem}" for problem in _problems_for_grid(made))


def _problem_of_key(key: Any, given: Any) -> str | None:
    text = str(key)
    first = text.partition("@")[0]
    if text.startswith(("+", "~")):
        return f"leave the {text[0]} out; a key is named as in key=value."
    if any(map(partial(_is_below, text), NOT_SEARCHED)):
        return "says where or whether a run is done, and cannot be searched."
    if _is_below(text, "data"):
        return (
            "changes the data: the quality of one trial is then not to be held against another's. "
            f"Sweep it: distill-lab -m {text}=<value>,<value>."
        )
    if is_group(first) and text not in groups():
        places = [name for name in groups() if name.partition("@")[0] == first]
        return f"choose it as {' or '.join(places)}."
    if is_group(first) and not isinstance(given, list):
        return f"is a group of options; list those to try: {text}:[{','.join(groups()[text][:2])}]."
    return None


def _is_below(key: str, name: str) -> bool:
    """Tell whether a key is of that name, or of something below it."""
    return key == name or key.startswith((f"{name}.", f"{name}@"))


def _problem_of_values(given: Any) -> str | None:
    if isinstance(given, list):
        texts = [written(value) for value in given]
        if len(texts) < 2 or len(set(texts)) < len(texts):
            return f"must list at least two different choices, got {written(given)}."
        return None
    if not isinstance(given, dict):
        rule = "a list of choices, or {low: <number>, high: <number>} with log: true or a step"
        return f"must be {rule}, got {written(given)}."
    unknown = [name for name in given if name not in OF_A_RANGE]
    if unknown:
        near = nearest(str(unknown[0]), OF_A_RANGE)
        return f"a range takes {', '.join(OF_A_RANGE)}, not {unknown[0]!r}.{near}"
    return _problem_of_range(given)


def _problem_of_range(given: dict[str, Any]) -> str | None:
    for name in ("low", "high"):
        if not _is_number(given.get(name)):
            return f"{name} must be a finite number, got {written(given.get(name))}."
    low, high, log = given["low"], given["high"], given.get("log", False)
    step = given.get("step")
    if low >= high:
        return f"low must be < high, got low {low} and high {high}."
    if not isinstance(log, bool):
        return f"log must be true or false, got {written(log)}."
    if log and low <= 0:
        return f"low must be > 0 where log is true, got {low}."
    if log and step is not None:
        return "a range has a step or log: true, not both."
    if step is not None and not (_is_number(step) and 0 < step <= high - low):
        return f"step must be > 0 and <= high - low, got {written(step)}."
    return None


def _problems_for_cma_es(made: list[Axis]) -> Iterator[str]:
    for axis in made:
        if isinstance(axis, Choices):
            yield (
                f"{axis.key}: CMA-ES varies numbers alone; give {{low: ..., high: ...}}, or take "
                f"{SEARCH}.sampler=tpe."
            )
    if len(made) < 2:
        yield f"CMA-ES needs at least two keys, got {len(made)}; take {SEARCH}.sampler=tpe."


def _problems_for_grid(made: list[Axis]) -> Iterator[str]:
    endless = [
        axis
        for axis in made
        if isinstance(axis, Range) and (axis.log or (axis.step is None and not axis.whole))
    ]
    for axis in endless:
        how = "list its values" if axis.log else "add a step, or list its values"
        yield f"{axis.key}: a grid has no end where any number may stand; {how}."
    if not endless:
        count = prod(_num_points(axis) for axis in made)
        if count > MOST_POINTS:
            yield f"the grid has {count:,} points, more than {MOST_POINTS:,}; take fewer values."


def _num_points(axis: Axis) -> int:
    return len(axis.values) if isinstance(axis, Choices) else axis.num_steps + 1


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _takes_integers(config: dict[str, Any], key: str, numbers: list[Any]) -> bool:
    """Tell whether a key takes integers alone; of one that has no type, whether these are some."""
    kind = _kind_of(config, key.split("."))
    if conforms(0.5, kind) != conforms(1, kind):
        return True
    return kind is Any and all(number is None or isinstance(number, int) for number in numbers)


def _kind_of(config: dict[str, Any], words: list[str]) -> Any:
    """Return the type of a key, Any where none is known."""
    if words == ["seed"]:
        return int
    node: Any = config
    for word in words[:-1]:
        node = node.get(word) if isinstance(node, dict) else None
    target = node.get("_target_") if isinstance(node, dict) else None
    known = signature_of(target) if isinstance(target, str) else {}
    return known[words[-1]].kind if words[-1] in known else Any
