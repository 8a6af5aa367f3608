"""Who does a thing first, where processes share a tracking server and perhaps no folder.

A server has no locks, but every process can write tags and read those of all others, which is
enough for Lamport's bakery (Communications of the ACM 17(8), 1974, doi 10.1145/361082.361093): who
comes takes a number above all others, and waits for those with a smaller one. The number is a tag
of the run that asks. It counts on while the process lives, so a process that was lost with its host
is told from one that takes long, without a look at any clock but one's own.
"""

from __future__ import annotations

import time
from contextlib import suppress
from threading import Event, Thread
from types import TracebackType
from typing import Self

from filelock import Timeout
from mlflow import MlflowClient, MlflowException

from distill_lab.tracking.orphans import has_ended, this_process
from distill_lab.tracking.patience import at_once

BEAT_SECONDS = 20.0
LOST_SECONDS = 240.0
"""Without a beat: longer than the longest pause of a client whose server was away, see `patience`.
"""
LOOK_SECONDS = 1.0
CHOOSING = 0


class Turn:
    """A lock that all processes on one tracking server share, with the methods of a `FileLock`.

    Args:
        client: of the server.
        experiment_id: of the runs that may ask for it.
        name: of what only one may be at.
        run_id: run on whose behalf it is asked for; asks once at a time for each name.
    """

    def __init__(self, client: MlflowClient, experiment_id: str, name: str, run_id: str) -> None:
        self._client = client
        self._experiment_id = experiment_id
        self._tag = f"turn.{name}"
        self._run_id = run_id
        self._over = Event()
        self._beats: Thread | None = None
        self._seen: dict[str, tuple[str, float]] = {}  # run -> its last tag, and when it was new

    def acquire(self, timeout: float = -1) -> None:
        """Wait for one's turn.

        Args:
            timeout: seconds to wait at most; negative: as long as it takes.

        Raises:
            Timeout: others were first for all that time.
        """
        limit = time.monotonic() + timeout
        self._write(CHOOSING, 0)
        try:
            number = 1 + max([CHOOSING, *(other for other, _ in self._others())])
            self._write(number, 0)
            self._over.clear()
            self._beats = Thread(target=self._beat, args=(number,), daemon=True)
            self._beats.start()
            while ahead := [other for other in self._others() if other < (number, self._run_id)]:
                choosing = any(other == CHOOSING for other, _ in ahead)
                if timeout >= 0 and limit < time.monotonic() and not choosing:
                    raise Timeout(self._tag)
                time.sleep(LOOK_SECONDS)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let the next one have its turn; where the server is away, once it is seen to be lost."""
        self._over.set()
        if self._beats is not None:
            self._beats.join()
            self._beats = None
        with at_once(), suppress(MlflowException):
            self._client.delete_tag(self._run_id, self._tag)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def _write(self, number: int, beat: int) -> None:
        self._client.set_tag(self._run_id, self._tag, f"{number} {beat} {this_process()}")

    def _beat(self, number: int) -> None:
        beat = 0
        while not self._over.wait(BEAT_SECONDS):
            beat += 1
            with suppress(MlflowException):  # the next may arrive
                self._write(number, beat)

    def _others(self) -> list[tuple[int, str]]:
        """Return number and run of all others who ask, but of those that were lost."""
        asking = self._client.search_runs([self._experiment_id], f"tags.`{self._tag}` LIKE '%'")
        found, now = [], time.monotonic()
        for run in asking:
            told, run_id = run.data.tags.get(self._tag), run.info.run_id
            if told is None or run_id == self._run_id:  # it was found and left at one moment
                continue
            before, since = self._seen.get(run_id, (None, now))
            self._seen[run_id] = (told, since if told == before else now)
            number, _, process = told.split(" ", 2)
            lost = now - self._seen[run_id][1] > LOST_SECONDS or has_ended(process)
            if not lost:
                found.append((int(number), run_id))
        return found
