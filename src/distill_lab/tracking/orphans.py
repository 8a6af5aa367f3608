"""Runs whose process is gone: they would stand as RUNNING for ever."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from mlflow import MlflowClient

TAG = "process"


def this_process() -> str:
    """Return what tells this process from any other, before and after it: host, number, start."""
    return f"{_prefix()}{os.getpid()}:{_started(os.getpid())}"


def close_orphans(client: MlflowClient, experiment_id: str) -> list[str]:
    """Mark runs of ended processes of this host FAILED and return their ids.

    A process that was killed could not do it itself. Runs of other hosts are left alone.
    """
    running = client.search_runs(
        [experiment_id], f"attributes.status = 'RUNNING' and tags.{TAG} LIKE '{_prefix()}%'"
    )
    closed = []
    for record in running:
        if not _alive(record.data.tags[TAG]):
            close_orphan(client, record.info.run_id)
            closed.append(record.info.run_id)
    return closed


def close_orphan(client: MlflowClient, run_id: str) -> None:
    """Mark a run FAILED whose process is gone."""
    client.set_tag(run_id, "error", "its process ended without closing it")
    client.set_terminated(run_id, "FAILED")


def has_ended(process: str) -> bool:
    """Tell whether a process of this host has ended; of other hosts' nothing is known: False."""
    return process.startswith(_prefix()) and not _alive(process)


def _prefix() -> str:
    """Return what stands before a process's number: its host and, on Linux, its container."""
    try:
        numbered = f"/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        numbered = ""
    return f"{socket.gethostname()}{numbered}:"


def _alive(process: str) -> bool:
    _, number, started = process.rsplit(":", 2)
    return _started(int(number)) == started


def _started(number: int) -> str:
    """Return when a process started, in ticks since boot; empty if there is none or no /proc."""
    try:
        after_name = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "" if not Path("/proc/self/stat").exists() else "gone"
    return after_name[19]
