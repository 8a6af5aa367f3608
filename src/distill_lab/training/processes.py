"""The further processes of a training: how they are started, what they are told, how they end.

This process is number 0. It alone has a tracking run, a progress bar and a checkpoint, decides when
a training ends, and ends the others: whatever happens to it, none of them stays behind.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist

from distill_lab.errors import RunError
from distill_lab.lifetime import end_with_parent
from distill_lab.own_code import make_importable
from distill_lab.settings import Hardware
from distill_lab.training.group import ALONE, Group
from distill_lab.training.sending import packed, receive, send

START = "forkserver"
"""How they are started: a fork of this process would have the locks of its threads."""
PRELOADED = ("torch", "pytorch_lightning")
SILENT = timedelta(minutes=30)  # for so long a process may not answer before the others give up
FAILED = 1  # exit code of a process that has told why
SECONDS_TO_TELL = 5.0  # of a process that fails, until this one knows why

Work = Callable[[Any, Group], None]
"""What the others do with a job: a function of a module."""


@contextmanager
def several(hardware: Hardware, job: Any, work: Work) -> Iterator[Group]:
    """Have the further processes do `work`, while this one does its part inside.

    Args:
        hardware: says how many there are.
        job: is sent to them; no tensor in it is shared with them afterwards.
        work: called there with the job and the group.

    Raises:
        RunError: one of them failed or was killed, or the job cannot be sent.
    """
    if hardware.num_processes == 1:
        yield ALONE
        return
    told = packed(job)
    with tempfile.TemporaryDirectory() as folder:
        others = _Others(hardware, Path(folder) / "store", work)
        try:
            others.start()
            group = _join(hardware, 0, others.store)
            send(told)
            del told
            yield group
        except RuntimeError as error:
            reason = others.reason()
            if reason is None:
                raise
            raise RunError(reason) from error
        finally:
            others.end()
            if dist.is_initialized():
                dist.destroy_process_group()


class _Others:
    """The further processes on this machine.

    Args:
        hardware: says how many there are.
        path: of the file by which they find each other.
        work: what they do.
    """

    def __init__(self, hardware: Hardware, path: Path, work: Work) -> None:
        self.hardware = hardware
        self.store = dist.FileStore(str(path), hardware.num_processes)
        self._path = path
        self._work = work
        self._made: list[tuple[BaseProcess, Connection]] = []

    def start(self) -> None:
        """Return once all are there.

        Raises:
            RuntimeError: one has ended already.
        """
        context = multiprocessing.get_context(START)
        context.set_forkserver_preload(list(PRELOADED))
        ranks = range(1, self.hardware.num_processes)
        for rank in ranks:
            ours, theirs = context.Pipe()
            told = (self.hardware, rank, str(self._path), theirs, self._work)
            process = context.Process(target=_take_part, args=told)  # type: ignore[attr-defined]
            process.start()
            theirs.close()
            self._made.append((process, ours))
        while not self.store.check([_here(rank) for rank in ranks]):
            if wait([process.sentinel for process, _ in self._made], timeout=0.05):
                raise RuntimeError("a process ended before the training began")

    def reason(self) -> str | None:
        """Return why the first process ended that did so by itself; None where none did.

        Those that are left fail too, as they cannot reach it: one that could not say why it ended
        was first, or else the one that said it first.
        """
        wait([process.sentinel for process, _ in self._made], timeout=SECONDS_TO_TELL)
        size = self.hardware.num_processes
        ended = [(process.exitcode, rank) for rank, (process, _) in enumerate(self._made, start=1)]
        told = [
            (*said, rank)
            for rank, (_, tells) in enumerate(self._made, start=1)
            if (said := _received(tells)) is not None
        ]
        for code, rank in ended:
            if code is not None and not (code == FAILED and told):
                how = f"process {rank} of {size} {_how_it_ended(code)}"
                return f"{how}; the training goes on from its last save by the same command."
        if told:
            _, text, rank = min(told)
            return f"process {rank} of {size} failed: {text}"
        return None

    def end(self) -> None:
        """Kill what is left of them; they hold nothing that could be lost."""
        for process, tells in self._made:
            process.kill()
            process.join()
            tells.close()


def _how_it_ended(code: int) -> str:
    if code == -signal.SIGKILL:
        return "was killed (SIGKILL: perhaps there was no memory left)"
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _received(tells: Connection) -> tuple[float, str] | None:
    """Return when and why a process failed; None where it has not told."""
    try:
        told: tuple[float, str] | None = tells.recv() if tells.poll() else None
    except EOFError:
        return None
    return told


def _here(rank: int) -> str:
    return f"here/{rank}"


def _take_part(hardware: Hardware, rank: int, path: str, tells: Connection, work: Work) -> NoReturn:
    """Be a further process: do its part of one job, then wait for the end."""
    for number in (signal.SIGINT, signal.SIGTERM):  # process 0 saves, and ends this one
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # process 0 says it
    try:
        if hardware.threads is not None:
            torch.set_num_threads(hardware.threads)
        make_importable()
        store = dist.FileStore(path, hardware.num_processes)
        store.set(_here(rank), "")
        group = _join(hardware, rank, store)
        work(receive(), group)
        tells.recv()  # nothing comes: process 0 may still be reading what this one has sent
    except BaseException as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        tells.send((time.monotonic(), text))  # one clock for all of a machine
    os._exit(FAILED)


def _join(hardware: Hardware, rank: int, store: dist.Store) -> Group:
    """Connect this process with the others: by gloo, and on GPUs by NCCL for what lies there."""
    for backend in ("GLOO", "NCCL"):
        os.environ.setdefault(f"{backend}_SOCKET_IFNAME", "lo")  # names of hosts may lead nowhere
    on_gpus = hardware.accelerator != "cpu" and torch.cuda.is_available()
    if on_gpus:
        torch.cuda.set_device(rank % hardware.devices)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if on_gpus else "gloo",
        store=store,
        rank=rank,
        world_size=hardware.num_processes,
        timeout=SILENT,
    )
    return Group(rank, hardware.num_processes)
