"""One job of a sweep, in the process of the sweep or wherever a launcher puts it."""

from __future__ import annotations

import math
import os
import socket
import sys
import time
import traceback
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from distill_lab.errors import DistillLabError, Refused, RunError, without_secret
from distill_lab.launch import checked, run_job
from distill_lab.parallel import QUIET, under_name, work

if TYPE_CHECKING:
    from distill_lab.tracking.run import TrackedRun
    from distill_lab.tracking.store import Store

JOBS = "jobs.json"
STOP = "stop"
"""Tag of a sweep's run whose jobs are to stop."""
SECONDS_TO_ASK_AGAIN = 2.0  # of a store that did not take it that they are


def this_place() -> str:
    """Return what tells this process from those of a launcher."""
    return f"{socket.gethostname()}:{os.getpid()}"


@dataclass(frozen=True)
class Job:
    """What Hydra is asked to launch; it is pickled, so it has all that a job elsewhere must know.

    Attributes:
        folder: in which the sweep was started, and from which relative paths go.
        place: the process of the sweep.
    """

    folder: str
    place: str

    def __call__(self, cfg: Any) -> None:
        """Do the job whose number a config has.

        Raises:
            ConfigError: there is no such store.
            RunError: the host does not have the folder.
        """
        here = self.place == this_place()
        if not here:
            os.environ.update(QUIET)
            self._enter()
        from distill_lab.tracking.store import Store

        tracking = cfg.tracking
        store = Store(tracking.uri, tracking.experiment, tracking.artifact_location, was_there=True)
        job = partial(_do, store, str(tracking.sweep_run_id), int(tracking.job))
        if here:
            job()
        else:
            work(job, partial(told_to_stop, store, str(tracking.sweep_run_id)))

    def _enter(self) -> None:
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise RunError(
                f"{socket.gethostname()} has no folder {self.folder}, in which the sweep was "
                "started; start it in one that all hosts share."
            ) from error


def tell_to_stop(run: TrackedRun, seconds: float = math.inf) -> None:
    """Tell the jobs of a sweep to stop; as they would not, while the store refuses it, ask again.

    Args:
        run: of the sweep.
        seconds: after which it is not asked again.

    Raises:
        OSError, MlflowException, SQLAlchemyError: what the store refused to the end.
    """
    from distill_lab.tracking.failures import REFUSED

    limit = time.monotonic() + seconds
    silent = True
    while True:
        try:
            run.set_tags({STOP: "the sweep was stopped"})
        except REFUSED as error:
            if time.monotonic() > limit:
                raise
            if silent:
                reason = without_secret(" ".join(str(error).split()))
                print(f"\nThe jobs are not told to stop yet, for: {reason}", file=sys.stderr)
            silent = False
            time.sleep(SECONDS_TO_ASK_AGAIN)
        else:
            return


def told_to_stop(store: Store, sweep_run_id: str) -> bool:
    """Tell whether the jobs of a sweep are to stop; a store that does not answer says nothing."""
    from distill_lab.tracking.failures import REFUSED

    try:
        return STOP in store.get(sweep_run_id).tags
    except REFUSED:
        return False


def _do(store: Store, sweep_run_id: str, number: int) -> None:
    """Do a job; one that fails must not take the others with it.

    The sweep's run is told why, and the summary lists it.
    """
    from distill_lab.tracking.patience import waiting_unless

    name, overrides = store.read_json(sweep_run_id, JOBS)[str(number)]
    own = [f"tracking.sweep_run_id={sweep_run_id}", f"tracking.job={number}"]
    try:
        with under_name(name):
            run_job(checked([*overrides, *own]), overrides, name)
    except Exception as error:  # whatever one job fails on, the others go on
        if not isinstance(error, DistillLabError):
            traceback.print_exc()
        print(f"\nJob {number} ({name}) failed: {error}", file=sys.stderr)
        # A store that is away ends the sweep: the next job would only wait for it again.
        with waiting_unless(isinstance(error, Refused)):
            store.open(sweep_run_id).set_tags({f"failed.{number}": str(error)})
