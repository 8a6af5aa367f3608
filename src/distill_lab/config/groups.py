"""The config groups, their options and where their files lie; no Hydra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ARCHITECTURE, EXPERIMENTS = "architecture", "experiments"
PACKAGE = Path(__file__).resolve().parents[1]
ROOT = next(root for root in (PACKAGE, *PACKAGE.parents) if (root / "conf/config.yaml").is_file())
CONF = ROOT / "conf"


def conf_folders() -> list[Path]:
    """Return the folders that options lie in: ours and, if there is one, your own `conf/`."""
    own = Path.cwd() / "conf"
    return [CONF] if own == CONF or not own.is_dir() else [CONF, own]


def groups() -> dict[str, list[str]]:
    """Return the config groups as they are chosen on the command line, with their options.

    A group used in two places appears once per place, e.g. `architecture@teacher`.
    """
    return {key: options(key.partition("@")[0]) for key in _defaults()}


def is_group(name: str) -> bool:
    """Tell whether a name, without its place, is that of a group."""
    return name in {key.partition("@")[0] for key in _defaults()}


def options(group: str) -> list[str]:
    """Return the names that a group offers, sorted."""
    if group == EXPERIMENTS:
        folders = {ROOT / EXPERIMENTS, Path.cwd() / EXPERIMENTS}
    else:
        folders = {folder / group for folder in conf_folders()}
    names = {
        str(path.relative_to(folder).with_suffix(""))
        for folder in folders
        for path in folder.rglob("*.yaml")
        if path.name != "paper.yaml"
    }
    return sorted(names)


def takes_several(key: str) -> bool:
    """Tell whether a group is a list of options, as `loss=[ce,kd]`."""
    return isinstance(_defaults().get(key), list)


def may_be_empty(key: str) -> bool:
    """Tell whether a list of options may name none, as the default of the group does."""
    return _defaults().get(key) == []


def ready(target: str) -> dict[str, Any]:
    """Return the values that the first option with this `_target_` has; of a grid, its first."""
    found = (_ready_values(folder).get(target) for folder in conf_folders())
    return next((values for values in found if values is not None), {})


def networks() -> dict[str, dict[str, Any]]:
    """Return the options of `architecture` as they stand in their files, but for grids."""
    trees = {path: tree for folder in conf_folders() for path, tree in _trees(folder).items()}
    return {
        path.stem: tree
        for path, tree in trees.items()
        if path.parent.name == ARCHITECTURE and isinstance(tree, dict) and _names_one(tree)
    }


def _names_one(node: dict[str, Any]) -> bool:
    """Tell whether a network has a `_target_`, and each of its knobs a value of its own."""
    values = node.values()
    return "_target_" in node and not any(isinstance(v, dict) or v == "???" for v in values)


@cache
def _ready_values(folder: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for tree in _trees(folder).values():
        for node in _nodes(tree):
            values = {key: _first(value) for key, value in node.items() if key != "_target_"}
            found.setdefault(str(node.get("_target_")), values)
    return found


@cache
def _trees(folder: Path) -> dict[Path, Any]:
    """Return what is in the options of a folder, by path; files that are no yaml are left out."""
    trees = {}
    for path in sorted(folder.glob("*/*.yaml")):
        with suppress(yaml.YAMLError):  # whoever chooses it is told
            trees[path] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return trees


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from _nodes(value)


def _first(value: Any) -> Any:
    return value["grid"][0] if isinstance(value, dict) and "grid" in value else value


@cache
def _defaults() -> dict[str, Any]:
    """Return what config.yaml chooses of each group."""
    listed = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    pairs = [pair for entry in listed if isinstance(entry, dict) for pair in entry.items()]
    return {key: value for key, value in pairs if not key.startswith("override ")}
