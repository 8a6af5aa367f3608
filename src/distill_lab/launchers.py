"""What differs between launchers: how each is reached, what it says of a lost job, how it ends."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from threading import Event, Thread

from distill_lab.config.launcher import Launcher
from distill_lab.config.overrides import LAUNCHER
from distill_lab.errors import ConfigError
from distill_lab.parallel import QUIET

SLURMS_OWN = ("sbatch", "srun", "sacct", "scontrol")
MORE_ROOM = {
    "joblib": "hydra.launcher.n_jobs=2",
    "ray": "+hydra.launcher.ray.remote.num_cpus=2",
    "submitit_local": "hydra/launcher=joblib",
    "submitit_slurm": "hydra.launcher.mem_gb=8",
}
"""Launcher -> an override by which each job has more memory, for instance."""


def reach(launcher: Launcher) -> int:
    """Connect to what runs the jobs.

    Returns:
        How many jobs it has room for at once; a cluster may grow.

    Raises:
        ConfigError: it is not there.
    """
    if launcher.name == "ray":
        return _ray(launcher)
    missing = [name for name in SLURMS_OWN if shutil.which(name) is None]
    if launcher.name == "submitit_slurm" and missing:
        commands = ", ".join(missing)
        raise ConfigError(
            [
                f"{LAUNCHER}: submitit_slurm needs SLURM's {commands}; start the sweep where jobs "
                "are submitted, or try it here with hydra/launcher=submitit_local."
            ]
        )
    return launcher.at_once


def _ray(launcher: Launcher) -> int:
    """Start Ray or connect to it, as the launcher would later.

    Its plugin, 1.2.2, gives the size of an object store too, which Ray refuses for a cluster that
    runs already; and Ray takes the handler of SIGTERM away.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # which takes lines of several jobs for one
    import ray

    handler = signal.getsignal(signal.SIGTERM)
    address = launcher.ray.get("address")
    runtime = launcher.ray.get("runtime_env") or {}
    runtime = runtime | {"env_vars": QUIET | runtime.get("env_vars", {})}
    try:
        ray.init(**({"logging_level": "warning"} | launcher.ray | {"runtime_env": runtime}))
    except (ConnectionError, ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            [f"hydra.launcher.ray.init: cannot reach Ray at {address!r}: {reason}"]
        ) from error
    finally:
        signal.signal(signal.SIGTERM, handler)
    there = ray.cluster_resources()
    room = [int(there.get("CPU", 0.0) // launcher.cores)]
    if launcher.num_gpus:
        room.append(int(there.get("GPU", 0.0) // launcher.num_gpus))
    return max(1, min(room))


def lost_by(launcher: Launcher) -> tuple[type[Exception], ...]:
    """Return what a launcher raises where a job's process died, or never began."""
    if launcher.name == "ray":
        from ray.exceptions import RayError

        return (RayError,)
    if launcher.name.startswith("submitit"):
        from submitit.core.utils import FailedJobError, FailedSubmissionError, UncompletedJobError

        return (FailedJobError, FailedSubmissionError, UncompletedJobError)
    return (BrokenExecutor,)


def release(launcher: Launcher) -> None:
    """Let go what the launcher would keep for a next sweep."""
    if launcher.name == "joblib":  # its pool, which would work in the folder of the first
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor(reuse=True).shutdown(wait=True)
    elif launcher.name == "ray":
        import ray

        ray.shutdown()


@contextmanager
def ctrl_c_spares_children(launcher: Launcher) -> Iterator[None]:
    """Start submitit's local controllers, which kill their job on Ctrl-C, so that they ignore it.

    They inherit what this thread blocks; another one takes the signal for this process.
    """
    if launcher.name != "submitit_local":
        yield
        return
    over = Event()
    Thread(target=over.wait, daemon=True).start()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        over.set()
