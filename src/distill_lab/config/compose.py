"""Overrides in, one plain nested dict out; every wrong override at once."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from distill_lab.errors import ConfigError, nearest

EXPERIMENTS = "experiments"
PACKAGE = Path(__file__).resolve().parents[1]
ROOT = next(root for root in (PACKAGE, *PACKAGE.parents) if (root / "conf/config.yaml").is_file())
CONF = ROOT / "conf"


class ExperimentsOnPath(SearchPathPlugin):
    """Lets `experiments=paper/name` find `experiments/`, ours and the working directory's."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the parents of the two folders."""
        for parent in dict.fromkeys((ROOT, Path.cwd())):
            if (parent / EXPERIMENTS).is_dir():
                search_path.append("distill-lab", parent.as_uri())


Plugins.instance().register(ExperimentsOnPath)


@dataclass(frozen=True)
class Request:
    """What the command line asked for, read but not yet composed.

    Attributes:
        overrides: as given.
        sweeps: the keys that take several values, in order.
        problems: one sentence per override that cannot be right.
        composable: the overrides that can, in a form in which an unknown key composes too, so that
            the check of the whole config reports it among the others.
    """

    overrides: list[str]
    sweeps: list[str]
    problems: list[str]
    composable: list[str]


def read(overrides: Sequence[str]) -> Request:
    """Read override strings and judge each by itself."""
    parser = OverridesParser.create()
    problems, composable, sweeps = [], [], []
    for text in overrides:
        try:
            override = parser.parse_override(text)
        except HydraException as error:
            reason = str(error).splitlines()[0]
            problems.append(f"{text!r} is not an override of the form key=value ({reason}).")
            continue
        found = _problems_of_choice(override)
        problems += found
        if override.is_sweep_override():
            sweeps.append(override.get_key_element().lstrip("+"))
        if not found:
            composable.append(_lenient(override, text))
    return Request(list(overrides), sweeps, problems, composable)


def compose(overrides: Sequence[str]) -> dict[str, Any]:
    """Compose the config and resolve its interpolations.

    Returns:
        Nested plain values; a value that must be given and was not is the text "???".

    Raises:
        ConfigError: Hydra cannot compose it.
    """
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = hydra_compose("config", overrides=list(overrides))
        return plain(cfg)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError([" ".join(str(error).split())]) from error


def jobs(overrides: Sequence[str]) -> list[list[str]]:
    """Return the overrides of each job of a sweep, in the order in which Hydra numbers them.

    An experiment may name its own sweep under `hydra.sweeper.params`.

    Raises:
        ConfigError: the request cannot be composed.
    """
    parser = OverridesParser.create()
    single = [text for text in overrides if not parser.parse_override(text).is_sweep_override()]
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = hydra_compose("config", overrides=single, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError([" ".join(str(error).split())]) from error
    own = [f"{key}={value}" for key, value in (cfg.hydra.sweeper.params or {}).items()]
    task = [text for text in (*own, *overrides) if not text.lstrip("+~").startswith("hydra")]
    return BasicSweeper.split_arguments(parser.parse_overrides(task), max_batch_size=None)[0]


def plain(cfg: Any) -> dict[str, Any]:
    """Return a DictConfig as nested plain values, interpolations resolved."""
    values: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    if values.get("reuse") is False:
        values["reuse"] = "off"  # YAML reads off as false
    return values


def groups() -> dict[str, list[str]]:
    """Return the config groups as they are chosen on the command line, with their options.

    A group used in two places appears once per place, e.g. `architecture@teacher`.
    """
    listed = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    keys = [key for entry in listed if isinstance(entry, dict) for key in entry]
    return {key: options(key.partition("@")[0]) for key in keys if not key.startswith("override ")}


def options(group: str) -> list[str]:
    """Return the names that a group offers, sorted."""
    if group == EXPERIMENTS:
        folders = {ROOT / EXPERIMENTS, Path.cwd() / EXPERIMENTS}
    else:
        folders = {CONF / group}
    return sorted(
        str(path.relative_to(folder).with_suffix(""))
        for folder in folders
        for path in folder.rglob("*.yaml")
        if path.name != "paper.yaml"
    )


def _problems_of_choice(override: Override) -> list[str]:
    """Check the option names of a group override; a value override has nothing to check yet."""
    group = override.key_or_group
    known = groups()
    if group not in {key.partition("@")[0] for key in known} or not _is_choice(override):
        return []
    key = group if override.package is None else f"{group}@{override.package}"
    if key not in known:
        places = [name for name in known if name.partition("@")[0] == group]
        return [f"{key}: choose it as {' or '.join(places)}."]
    wrong = [name for name in _chosen(override) if name not in known[key]]
    return [
        f"{key}: there is no option {name!r}.{nearest(name, known[key])} "
        f"Options: {_short(known[key])}."
        for name in wrong
    ]


def _is_choice(override: Override) -> bool:
    """Tell `regime=sgd_step` (a choice) from a deletion or a whole dict given as a value."""
    return override.type != OverrideType.DEL and not isinstance(override.value(), dict)


def _chosen(override: Override) -> list[str]:
    values = list(override.sweep_iterator()) if override.is_sweep_override() else [override.value()]
    names = []
    for value in values:
        text = str(value).strip("[]") if not isinstance(value, list) else ",".join(map(str, value))
        names += [
            name.strip() for name in text.split(",") if name.strip() not in ("", "None", "null")
        ]
    return names


def _lenient(override: Override, text: str) -> str:
    """Let an unknown key compose: the check names it together with all other problems."""
    is_value = override.key_or_group not in {key.partition("@")[0] for key in groups()}
    hydra_key = override.key_or_group.partition(".")[0] == "hydra"
    plain_change = override.type == OverrideType.CHANGE
    return (
        f"++{text}"
        if is_value and plain_change and not hydra_key and "/" not in text.partition("=")[0]
        else text
    )


def _short(names: list[str]) -> str:
    width = shutil.get_terminal_size().columns * 3
    text = ", ".join(names)
    return text if len(text) <= width else text[:width] + " ..."
