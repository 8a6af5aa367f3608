"""Overrides in, one plain nested dict out; every override that cannot be merged at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from distill_lab.config.groups import CONF, EXPERIMENTS, ROOT, conf_folders, is_group
from distill_lab.errors import ConfigError
from distill_lab.naming import split_override

SEARCH = "regime.search"
"""The section that stands inside of another one, and is checked by itself."""
REFUSALS = (HydraException, OmegaConfBaseException, YAMLError)

NAMING_CODE = ("_target_", "()", "class")
"""Keys of Hydra's section that name what is imported and called."""
HYDRAS_OWN = ("hydra.", "hydra_plugins.", "logging.", "colorlog.")
READ = ("job", "launcher", "sweep", "sweeper")
"""Parts of Hydra's section that are read here."""
NO_CHDIR = (
    "hydra.job.chdir: jobs work where the sweep was started, from which paths go; leave it out."
)
BEHIND_HYDRA = sys.stdlib_module_names - {"logging", "types"}
"""Modules that are no part of Hydra or of logging, though `logging.os` leads to one."""


class OwnFilesOnPath(SearchPathPlugin):
    """Lets groups find options in `conf/`, and experiments in `experiments/`, ours and your own."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append what holds them in the package and in the working directory."""
        for folder in conf_folders()[1:]:
            search_path.append("distill-lab", folder.as_uri())
        for parent in dict.fromkeys((ROOT, Path.cwd())):
            if (parent / EXPERIMENTS).is_dir():
                search_path.append("distill-lab", parent.as_uri())


Plugins.instance().register(OwnFilesOnPath)


class Composed(NamedTuple):
    """What is made of overrides.

    Attributes:
        config: nested plain values; one that must be given and was not is the text "???".
        choices: which option of each group it is made of, e.g. `regime` -> `sgd_step`.
        problems: one sentence for each override that cannot be merged.
    """

    config: dict[str, Any]
    choices: dict[str, str]
    problems: list[str]


def compose(overrides: Sequence[str]) -> dict[str, Any]:
    """Compose the config and resolve its interpolations; return what `Composed` has of it.

    Raises:
        ConfigError: an override cannot be merged; names all of them.
    """
    made = composed(overrides)
    if made.problems:
        raise ConfigError(made.problems)
    return made.config


def composed(overrides: Sequence[str]) -> Composed:
    """Compose as many overrides as can be merged."""
    pairs = (_in_place(text) if _is_list(text) else [text] for text in overrides)
    asked: list[str] | None = [text for pair in pairs for text in pair]
    while asked is not None:
        try:
            return _composed(asked)
        except REFUSALS as error:
            asked = _with_blamed_replaced(asked, error)
    kept: list[str] = []
    made, found = None, []
    for text in sorted(overrides, key=_is_value):
        try:
            made, kept = _extended(kept, text)
        except REFUSALS as error:
            found.append(f"{split_override(text)[0]}: {_reason(error)}")
    return (made or _composed([]))._replace(problems=found)


def jobs(overrides: Sequence[str]) -> list[list[str]]:
    """Return the overrides of each job of a sweep, in the order in which Hydra numbers them.

    An experiment may bring a sweep of its own, see `own_sweep`.

    Raises:
        ConfigError: the request cannot be composed.
    """
    own = [f"{key}={value}" for key, value in own_sweep(overrides).items()]
    task = [text for text in (*own, *overrides) if not _is_hydra(text)]
    parsed = OverridesParser.create().parse_overrides(task)
    return BasicSweeper.split_arguments(parsed, max_batch_size=None)[0]


def own_sweep(overrides: Sequence[str]) -> dict[str, str]:
    """Return what the chosen experiment sweeps by itself and no override fixes: key -> values.

    An experiment names it under `hydra.sweeper.params`.

    Raises:
        ConfigError: the request cannot be composed.
    """
    given = {split_override(text)[0] for text in overrides}
    sweeper = hydras_own(overrides).sweeper
    try:
        values: Any = OmegaConf.to_container(sweeper, resolve=True)
    except REFUSALS as error:
        raise ConfigError([f"hydra.sweeper: {_reason(error)}"]) from error
    params = values["params"] or {}
    if not isinstance(params, dict):
        raise ConfigError([f"hydra.sweeper.params: must be keys with values, got {params!r}."])
    return {str(key): str(value) for key, value in params.items() if key not in given}


def hydras_own(overrides: Sequence[str]) -> Any:
    """Return Hydra's own section: what the options and the overrides of it say.

    Raises:
        ConfigError: the request cannot be composed, or code is named that is not Hydra's.
    """
    parser = OverridesParser.create()
    chosen = [text for text in overrides if not _is_value(text) or _is_hydra(text)]
    single = [text for text in chosen if not parser.parse_override(text).is_sweep_override()]
    try:
        own = _hydras_own(tuple(single), Path.cwd())
    except REFUSALS as error:
        raise ConfigError(composed(single).problems or [_reason(error)]) from error
    values: Any = OmegaConf.to_container(own)
    found = list(_foreign_code("hydra", values))
    for name in READ:
        if not isinstance(values.get(name), dict):
            found.append(f"hydra.{name}: must be a section, got {values.get(name)!r}.")
    if not found and values["job"].get("chdir"):
        found.append(NO_CHDIR)
    if found:
        raise ConfigError(found)
    return own


def plain(cfg: Any) -> dict[str, Any]:
    """Return a DictConfig as nested plain values, interpolations resolved."""
    values: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    regime = values.get("regime")
    if isinstance(regime, dict) and "search" in regime:
        values[SEARCH] = regime.pop("search")  # it is no part of how a single run is trained
    if values.get("reuse") is False:
        values["reuse"] = "off"  # which YAML reads as false
    return values


@cache
def _hydras_own(chosen: tuple[str, ...], folder: Path) -> Any:
    """Compose what the options say, below a folder."""
    return _by_hydra(chosen).hydra


def _is_hydras(name: str) -> bool:
    """Tell whether a name is of Hydra or logging, and not of what these import, as `os` is."""
    inner = name.split(".")[1:]
    return name.startswith(HYDRAS_OWN) and BEHIND_HYDRA.isdisjoint(inner)


def _foreign_code(path: str, node: Any) -> Iterator[str]:
    """Yield what Hydra, or logging for it, would import and call that is neither's."""
    items = node.items() if isinstance(node, dict) else ()
    for key, value in enumerate(node) if isinstance(node, list) else items:
        named = key in NAMING_CODE and isinstance(value, str)
        if named and not _is_hydras(value):
            yield f"{path}.{key}: must start with {' or '.join(HYDRAS_OWN)}, got {value!r}."
        yield from _foreign_code(f"{path}.{key}", value)


@contextmanager
def _hydra() -> Iterator[None]:
    """Start Hydra, unless this is a job of a sweep, in which it runs already."""
    if GlobalHydra.instance().is_initialized():
        yield
    else:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            yield


def _by_hydra(overrides: Sequence[str]) -> DictConfig:
    """Compose by Hydra, which fails in any way where its own section is given what it cannot use.

    Raises:
        HydraException, OmegaConfBaseException, YAMLError: it cannot.
    """
    try:
        with _hydra():
            return hydra_compose("config", overrides=list(overrides), return_hydra_config=True)
    except REFUSALS:
        raise
    except Exception as error:
        raise HydraException(f"Hydra cannot use this: {error}") from error


def _composed(overrides: Sequence[str]) -> Composed:
    cfg = _by_hydra(overrides)
    taken = cfg.hydra.runtime.choices
    choices = {key: name for key, name in taken.items() if name and not key.startswith("hydra/")}
    with open_dict(cfg):
        del cfg["hydra"]
    return Composed(plain(cfg), choices, [])


def _extended(kept: list[str], text: str) -> tuple[Composed, list[str]]:
    """Add an override to those that compose; a list and a grid may replace each other."""
    try:
        return _composed([*kept, text]), [*kept, text]
    except REFUSALS:
        if not _may_replace(text):
            raise
        replacing = [*kept, *_in_place(text)]
        return _composed(replacing), replacing


def _with_blamed_replaced(asked: list[str], error: Exception) -> list[str] | None:
    """Let the list or grid that Hydra's error blames replace what is there; None: it blames none.

    To try the overrides one by one takes as many compositions, an eighth of a second each.
    """
    blamed = str(error).partition("Error merging override ")[2]
    if blamed not in asked or not _may_replace(blamed):
        return None
    number, replaced = asked.index(blamed), _in_place(blamed)
    if asked[number - 1 : number + 1] == replaced:
        return None
    return [*asked[:number], *replaced, *asked[number + 1 :]]


def _is_list(text: str) -> bool:
    """Tell whether an override is a list, which no list that was there is merged with."""
    return _may_replace(text) and text[0] != "+" and text.partition("=")[2][0] == "["


def _may_replace(text: str) -> bool:
    """Tell whether an override is a list or a grid, which may stand in place of the other."""
    opens = text.partition("=")[2].startswith(("[", "{"))
    return opens and text[0] != "~" and _is_value(text)


def _in_place(text: str) -> list[str]:
    """Return overrides by which a value takes the place of another one, whatever kind that is.

    So it stays where it was among its section's keys, by whose order networks are named.
    """
    key, value = split_override(text)
    return [f"{key}=null", f"{key}={value}"]


def _is_value(text: str) -> bool:
    """Tell an override of a value from the choice of an option; choices are merged first."""
    return not is_group(split_override(text)[0].partition("@")[0])


def _is_hydra(text: str) -> bool:
    return split_override(text)[0].startswith("hydra")


def _reason(error: Exception) -> str:
    """Return an error of Hydra or OmegaConf as one line, without its inner workings."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    text = " ".join(str(cause).split())
    text = text.partition(" Config search path:")[0].partition(" full_key:")[0]
    if "Cannot merge" in text and "ListConfig" in text:
        text += " (in a file, a knob that is a grid is replaced by a grid: {grid: [[32]]})"
    if "BasicLauncherConf" in text:
        text += ". Without a launcher, jobs run one after another; add hydra/launcher=joblib."
    return text
