"""From overrides to a finished job: check, run, refine."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from distill_lab.config.check import build, component, grid, problems, settings_of, students_of
from distill_lab.config.compose import SEARCH, composed, jobs, own_sweep
from distill_lab.config.overrides import read
from distill_lab.config.passes import pass_configs
from distill_lab.config.recipes import far_from_recipes
from distill_lab.config.space import axes, is_about_search
from distill_lab.contracts import Parts
from distill_lab.errors import ConfigError, without_secret
from distill_lab.fingerprint import source_hash, targets
from distill_lab.naming import command, short_name, split_override
from distill_lab.own_code import make_importable, module_file

if TYPE_CHECKING:
    from distill_lab.training.callbacks import Watch
    from distill_lab.workflow import Done

SEED = re.compile(r"seed=\d+")
ROUNDS = "evaluation.refine."
"""How a run is refined; no part of what it was."""
ALONE = f"{SEARCH}.space: a search is no job of a sweep; leave -m out, and search its keys too."
NEED_TORCH = (
    "data",
    "architecture",
    "teacher",
    "student",
    "loss",
    "design",
    "regime.leave_out_classes",
    "selection.regime.leave_out_classes",
    "selection.weights",
    "selection.pretrained",
    "compress",
    "variants",
    "price",
    "experiments",
    "hardware.devices",
    "hardware.num_nodes",
    "hardware.strategy",
)


def checked(overrides: Sequence[str], as_trial: bool = False) -> Parts:
    """Compose, check and build a run.

    Torch is imported only where an override touches what torch is needed to judge, so that a
    mistyped key is answered at once. Of a search, runs with all choices and both ends of each
    range are checked too.

    Args:
        overrides: of the run.
        as_trial: leave the search out that an experiment among them asks for.

    Raises:
        ConfigError: lists every problem.
    """
    make_importable()
    request = read(overrides)
    config, chosen, unmergeable = composed(request.composable)
    if as_trial and isinstance(config.get(SEARCH), dict):
        config[SEARCH]["space"] = {}
    shallow = problems(config)
    found = [*request.problems, *unmergeable]
    found += [f"{key}: several values are a sweep; add -m." for key in request.sweeps]
    found += shallow
    keys = {split_override(text)[0].partition(".")[0] for text in request.composable}
    if "variants" in keys and "compress" not in keys and not config.get("compress"):
        found.append("variants: nothing is compressed; add compress=[<step>,...], or leave it out.")
    searched = any(map(is_about_search, request.composable))
    if searched and not as_trial and _has_no_space(config):
        example = f"'{SEARCH}.space={{regime.lr:{{low:1e-4,high:1e-2,log:true}}}}'"
        found.append(f"{SEARCH}.space: is empty, so nothing is searched; give keys: {example}.")
    if not found or _needs_torch(request.composable, found):
        own = [name for name in targets(config) if module_file(name) is not None]
        if own and not shallow:
            source_hash(own)  # read before it is imported: what runs is what is hashed
        for number, one in enumerate([config] if shallow else pass_configs(config)):
            found += deep_problems(one, shallow, of_student=number > 0)
    if found:
        raise ConfigError(list(dict.fromkeys(found)))
    parts = build(config, chosen)
    if parts.search is not None:
        _check_space(parts, config, overrides)
    return parts


def _has_no_space(config: dict[str, Any]) -> bool:
    node = config.get(SEARCH)
    return isinstance(node, dict) and node.get("space") == {}


def _check_space(parts: Parts, config: dict[str, Any], overrides: Sequence[str]) -> None:
    """Check as many runs as it takes to have each choice and each end of a range once."""
    from distill_lab.refine import merged  # imports torch

    assert parts.search is not None
    made = axes(parts.search.space, config)
    own = [text for text in overrides if not is_about_search(text)]
    found: list[str] = []
    for number in range(max(len(axis.probes) for axis in made)):
        row = [f"{axis.key}={axis.probes[number % len(axis.probes)]}" for axis in made]
        try:
            checked(merged(own, row), as_trial=True)
        except ConfigError as error:
            found += [f"{SEARCH}.space: {problem}" for problem in error.problems]
    if found:
        raise ConfigError(list(dict.fromkeys(found)))


def checked_alone(overrides: Sequence[str]) -> Parts:
    """Check a run that is asked for by itself, not as a job of a sweep.

    Raises:
        ConfigError: lists every problem, or the experiment is a sweep.
    """
    parts = checked(overrides)
    swept = own_sweep(overrides)
    if swept:
        keys = ", ".join(swept)
        raise ConfigError(
            [f"experiments: this experiment is a sweep over {keys}; add -m, or give each a value."]
        )
    return parts


def check_jobs(overrides: Sequence[str]) -> tuple[int, list[str]]:
    """Check each job of a request, which may be a sweep; of those that differ in seed alone, one.

    Returns:
        How many there are, and where they are far from published recipes.

    Raises:
        ConfigError: lists every problem of any job, each once.
    """
    asked = [list(overrides)] if read(overrides).problems else jobs(overrides)
    found, advice = [], []
    but_seed = {tuple(text for text in job if not SEED.fullmatch(text)): job for job in asked}
    for job in but_seed.values():
        try:
            parts = checked(job)
            advice += far_from_recipes(parts.config)
            found += [ALONE] if parts.search is not None and len(asked) > 1 else []
        except ConfigError as error:
            found += error.problems
    if found:
        raise ConfigError(list(dict.fromkeys(found)))
    return len(asked), list(dict.fromkeys(advice))


def deep_problems(
    config: dict[str, Any],
    shallow: Sequence[str] = (),
    budget: bool = True,
    of_student: bool = False,
) -> list[str]:
    """Return the problems found by making the parts, as far as they are sound.

    Args:
        config: nested plain values.
        shallow: problems that are known already.
        budget: whether to hold the students against it.
        of_student: whether the teacher was the student of the pass before.
    """
    # torchao, which transformers loads too, registers enums in a way that torch 2.14 calls old.
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
    from distill_lab import preflight  # imports torch

    def sound(path: str) -> bool:
        return not any(_is_about(problem, path) for problem in shallow)

    terms = config["loss"] if isinstance(config.get("loss"), dict) else {}
    steps = config["compress"] if sound("compress") else {}
    regimes = {"selection.regime": config["selection"]["regime"], "regime": config["regime"]}
    return preflight.problems(
        component(config["data"]) if sound("data") else None,
        (students_of if of_student else grid)(config["teacher"]) if sound("teacher") else (),
        students_of(config["student"]) if sound("student") else (),
        {name: component(node) for name, node in terms.items() if sound(f"loss.{name}")},
        settings_of(config["design"]) if sound("design") else None,
        {path: settings_of(node) for path, node in regimes.items() if sound(path)},
        settings_of(config["selection"]) if sound("selection") else None,
        budget,
        {name: component(node) for name, node in steps.items()},
        settings_of(config["variants"]) if sound("variants") else None,
        settings_of(config["price"]) if sound("price") else None,
        settings_of(config["hardware"]) if sound("hardware") else None,
    )


def _needs_torch(overrides: Sequence[str], found: Sequence[str]) -> bool:
    """Tell whether an override that looks sound so far touches what only torch can judge."""
    given = [key for key, _ in map(split_override, overrides)]
    touched = [key for key in given if key.startswith(NEED_TORCH) or key == "hardware"]
    keys = [key.rpartition("@")[2] for key in touched]
    return any(not any(_is_about(problem, key) for problem in found) for key in keys)


def _is_about(problem: str, path: str) -> bool:
    return problem.startswith((f"{path}:", f"{path}."))


def run_job(
    parts: Parts, overrides: Sequence[str], name: str | None = None, watch: Watch | None = None
) -> Done:
    """Run the workflow of one checked run, then its refinement rounds; hand over the student.

    Args:
        parts: the checked run.
        overrides: it was made from; they are what a proposal is added to.
        name: of the run in MLflow; None: from the config, or made of the overrides, and printed.
        watch: asked after each epoch of the distillation whether to go on; None: to its end.

    Raises:
        ConfigError: it is a search, which is not a job of something else, or the store or the
            hardware is not there.
        Pruned: the watch ended it.
        RunError: a stage failed, or something could not be written.
    """
    if parts.search is not None:
        raise ConfigError([ALONE])
    from distill_lab.tracking.failures import refusals_told  # imports MLflow

    with refusals_told():
        return _run_job(parts, overrides, name, watch)


def _run_job(parts: Parts, overrides: Sequence[str], name: str | None, watch: Watch | None) -> Done:
    from distill_lab import workflow  # imports torch and MLflow
    from distill_lab.chain import run_chain
    from distill_lab.handover.hand_over import hand_over
    from distill_lab.refine import refine
    from distill_lab.run_report import COMMAND
    from distill_lab.tracking.store import Store

    _require_devices(parts)
    tracking = parts.tracking
    of_sweep = tracking.sweep_run_id is not None
    store = Store(tracking.uri, tracking.experiment, tracking.artifact_location, of_sweep)
    tags = {"overrides": without_secret(" ".join(overrides)), COMMAND: command(overrides)}
    if tracking.job is not None:
        tags["job"] = str(tracking.job)
    if name is None:
        name = parts.name or short_name(overrides) or f"{parts.data.info.name}, defaults"
        print(f"\n{name}")
    if parts.chain.num_passes > 1:
        done = run_chain(parts, store, name, tags, tracking.sweep_run_id)
    else:
        done = workflow.run(parts, store, name, tags, tracking.sweep_run_id, watch=watch)
    done.overrides = [text for text in overrides if not split_override(text)[0].startswith(ROUNDS)]
    done.proposals = list(done.report.proposals)
    if parts.evaluation.refine.rounds > 0:
        done = refine(done, store, list(overrides), parts.evaluation, checked)
        parts = checked(done.overrides)
    if tracking.sweep_run_id is None:  # a sweep hands over its best job's student alone
        done.handed_over = hand_over(store, parts, done.run_id, done.overrides)
        done.model = done.handed_over.model if done.handed_over else done.model
    return done


def _require_devices(parts: Parts) -> None:
    import torch

    hardware, seen = parts.hardware, torch.cuda.is_available()
    if hardware.accelerator == "gpu" and not seen:
        raise ConfigError(
            ["hardware.accelerator: torch sees no GPU here; use hardware=cpu, or hardware=ddp."]
        )
    if hardware.accelerator != "cpu" and seen and torch.cuda.device_count() < hardware.devices:
        count = torch.cuda.device_count()
        raise ConfigError(
            [f"hardware.devices: torch sees {count} GPUs here, got {hardware.devices}."]
        )
    if hardware.num_nodes > 1:
        raise ConfigError(
            [
                "hardware.num_nodes: several machines can be configured and checked, not run yet; "
                f"must be 1, got {hardware.num_nodes}."
            ]
        )
    if hardware.precision == "16-mixed" and (hardware.accelerator == "cpu" or not seen):
        raise ConfigError(["hardware.precision: 16-mixed needs a GPU; use bf16-mixed or 32-true."])
