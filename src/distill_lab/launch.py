"""From overrides to a finished job: check, run, refine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from distill_lab.config.check import build, component, grid, problems, settings_of
from distill_lab.config.compose import choices, compose, composed
from distill_lab.config.groups import groups, takes_several
from distill_lab.config.overrides import key_of, read
from distill_lab.contracts import Parts
from distill_lab.errors import ConfigError
from distill_lab.naming import short_name

if TYPE_CHECKING:
    from distill_lab.workflow import Done

NEED_TORCH = ("data", "architecture", "teacher", "student", "loss", "design", "experiments")


def checked(overrides: Sequence[str]) -> Parts:
    """Compose, check and build a run.

    Torch is imported only where an override touches what torch is needed to judge, so that a
    mistyped key is answered at once.

    Raises:
        ConfigError: lists every problem.
    """
    request = read(overrides)
    config, unmergeable = composed(request.composable)
    shallow = problems(config)
    found = [*request.problems, *unmergeable]
    found += [f"{key}: several values are a sweep; add -m." for key in request.sweeps]
    found += shallow
    if not found or _needs_torch(request.composable, found):
        found += deep_problems(config, shallow)
    if found:
        raise ConfigError(list(dict.fromkeys(found)))
    return build(config, choices(request.composable))


def deep_problems(
    config: dict[str, Any], shallow: Sequence[str] = (), budget: bool = True
) -> list[str]:
    """Return the problems found by making the parts, as far as they are sound."""
    from distill_lab import preflight  # imports torch

    def sound(path: str) -> bool:
        return not any(_is_about(problem, path) for problem in shallow)

    terms = config["loss"] if isinstance(config.get("loss"), dict) else {}
    return preflight.problems(
        component(config["data"]) if sound("data") else None,
        grid(config["teacher"]) if sound("teacher") else (),
        grid(config["student"]) if sound("student") else (),
        {name: component(node) for name, node in terms.items() if sound(f"loss.{name}")},
        settings_of(config["design"]) if budget and sound("design") else None,
    )


def _needs_torch(overrides: Sequence[str], found: Sequence[str]) -> bool:
    """Tell whether an override that looks sound so far touches what only torch can judge."""
    keys = [key_of(text) for text in overrides if key_of(text).startswith(NEED_TORCH)]
    return any(not any(_is_about(problem, key) for problem in found) for key in keys)


def _is_about(problem: str, path: str) -> bool:
    return problem.startswith((f"{path}:", f"{path}."))


def check_everything() -> int:
    """Compose, check and build every option of every group and every experiment; return how many.

    An option by itself is not held against the budget, an experiment is.

    Raises:
        ConfigError: lists every problem, each with the choice that shows it.
    """
    choices = [
        (key, f"{key}=[{name}]" if takes_several(key) else f"{key}={name}")
        for key, names in groups().items()
        for name in names
    ]
    found = []
    for key, choice in choices:
        try:
            config = compose([choice])
            shallow = problems(config)
            wrong = shallow + deep_problems(config, shallow, budget=key == "experiments")
        except ConfigError as error:
            wrong = error.problems
        found += [f"with {choice}: {problem}" for problem in wrong]
    if found:
        raise ConfigError(found)
    return len(choices)


def run_job(parts: Parts, overrides: Sequence[str], name: str | None = None) -> Done:
    """Run the workflow of one checked run, then its refinement rounds; register the model.

    Args:
        parts: the checked run.
        overrides: it was made from; they are what a proposal is added to.
        name: of the run in MLflow; None: from the config, or made of the overrides.
    """
    import torch

    from distill_lab import workflow  # imports torch and MLflow
    from distill_lab.refine import refine
    from distill_lab.tracking.store import Store

    if parts.hardware.accelerator == "gpu" and not torch.cuda.is_available():
        raise ConfigError(["hardware.accelerator: torch sees no GPU here; use hardware=cpu."])
    tracking = parts.tracking
    store = Store(tracking.uri, tracking.experiment, tracking.artifact_location)
    tags = {"overrides": " ".join(overrides)}
    if tracking.job is not None:
        tags["job"] = str(tracking.job)
    name = name or parts.name or short_name(overrides) or f"{parts.data.info.name}, defaults"
    print(f"\n{name}")
    done = workflow.run(parts, store, name, tags, tracking.sweep_run_id)
    if parts.evaluation.refine.rounds > 0:
        done = refine(done, store, list(overrides), parts.evaluation.refine.rounds, checked)
    registered = registry_name(parts)
    if registered is not None and tracking.sweep_run_id is None:
        done.model = store.register(done.report.model, registered)
    return done


def registry_name(parts: Parts) -> str | None:
    """Return the name of the registered model, or None; a sweep registers its best job alone."""
    name = parts.evaluation.register_as
    return f"distill-lab-{parts.data.info.name}" if name == "auto" else name
