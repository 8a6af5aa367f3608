"""Who runs the jobs of a sweep: what Hydra's section says about its launcher."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from distill_lab.config.compose import hydras_own
from distill_lab.config.overrides import LAUNCHER
from distill_lab.errors import ConfigError

UNLIMITED = sys.maxsize
NAMES = {
    "BasicLauncher": "basic",
    "JoblibLauncher": "joblib",
    "RayLauncher": "ray",
    "LocalLauncher": "submitit_local",
    "SlurmLauncher": "submitit_slurm",
}
"""Class of a launcher -> the option that it is; a file of your own may extend one."""


@dataclass(frozen=True)
class Launcher:
    """Where the jobs of a sweep run, and how many of them.

    Attributes:
        name: one of `NAMES`.
        at_once: jobs side by side at most.
        cores: of each job.
        folder: absolute, for what the launcher writes, as logs of submitit's jobs.
        ray: what `ray.init` is called with.
        num_gpus: of each job, for Ray.
    """

    name: str = "basic"
    at_once: int = 1
    cores: int = 1
    folder: str = ""
    ray: dict[str, Any] = field(default_factory=dict)
    num_gpus: float = 0.0

    @property
    def apart(self) -> bool:
        """Whether jobs run in processes of their own."""
        return self.name != "basic" and not (self.name == "joblib" and self.at_once == 1)


def launcher_of(overrides: Sequence[str]) -> Launcher:
    """Return the launcher that a request names.

    Raises:
        ConfigError: the request cannot be composed, or it names a launcher that is not supported.
    """
    own = hydras_own(overrides)
    node, kind = own.launcher, str(own.launcher["_target_"]).rpartition(".")[2]
    if kind not in NAMES:
        known = ", ".join(NAMES.values())
        advice = " Start the machines with `ray up`; then hydra/launcher=ray." * ("Ray" in kind)
        raise ConfigError([f"{LAUNCHER}: {kind} is not supported; there are {known}.{advice}"])
    name = NAMES[kind]
    folder = str(Path(str(own.sweep.dir)).absolute())
    if name == "joblib":
        from joblib import effective_n_jobs

        return Launcher(name, int(effective_n_jobs(node.n_jobs)), folder=folder)
    if name == "ray":
        init: Any = OmegaConf.to_container(node.ray.init, resolve=True)
        remote = node.ray.remote
        cores = max(1, int(remote.get("num_cpus") or 1))
        gpus = float(remote.get("num_gpus") or 0.0)
        return Launcher(name, UNLIMITED, cores, folder, init, gpus)
    if name.startswith("submitit"):
        at_once = int(node.get("array_parallelism", UNLIMITED))
        return Launcher(name, at_once, int(node.cpus_per_task or 1), folder)
    return Launcher(folder=folder)
