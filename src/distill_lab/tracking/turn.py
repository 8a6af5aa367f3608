"""Who does a thing first, where processes share a tracking server and perhaps no folder.

A server has no locks, but every process can write tags and read those of all others, which is
enough for Lamport's bakery (Communications of the ACM 17(8), 1974, doi 10.1145/361082.361093): who
comes takes a number above all others, and waits for those with a smaller one. The number is a tag
of the run that asks. Beside it a count goes on while the process lives, so a process that was lost
with its host is told from one that takes long, without a look at any clock but one's own.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from threading import Event, Thread
from types import TracebackType
from typing import Self

from filelock import Timeout
from mlflow import MlflowClient, MlflowException

from distill_lab.tracking.orphans import has_ended, this_process
from distill_lab.tracking.patience import at_once, raise_if_away

BEAT_SECONDS = 20.0
LOST_SECONDS = 240.0
"""Without a beat, while the server answers: a client that found it away asks again after 120."""
LOOK_SECONDS = 1.0
JOIN_SECONDS = 2.0  # longer, a beat waits for a server that is away
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
        self._beats: tuple[Thread, Event] | None = None
        self._seen: dict[str, tuple[str, float]] = {}  # run -> its last tag, and when it was new
        self._looked = -math.inf

    def acquire(self, timeout: float = -1) -> None:
        """Wait for one's turn.

        Args:
            timeout: seconds to wait for others at most, but for those that choose their number,
                which takes a moment; negative: as long as it takes.

        Raises:
            Timeout: others were first for all that time.
        """
        limit = math.inf if timeout < 0 else time.monotonic() + timeout
        self._write(CHOOSING, 0)
        try:
            mine = (1 + max([CHOOSING, *(number for number, _ in self._others())]), self._run_id)
            self._write(mine[0], 0)
            self._beats = self._beating(mine[0])
            # Who comes later than this look has seen the number, and takes a larger one.
            for _, run_id in sorted(self._others()):
                while (number := self._number(run_id)) is not None and (number, run_id) < mine:
                    if number != CHOOSING and time.monotonic() > limit:
                        raise Timeout(self._tag)
                    time.sleep(LOOK_SECONDS)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let the next one have its turn; where the server is away, once it is seen to be lost."""
        if self._beats is not None:
            thread, over = self._beats
            over.set()
            thread.join(JOIN_SECONDS)
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

    def _beating(self, number: int) -> tuple[Thread, Event]:
        over = Event()
        thread = Thread(target=self._beat, args=(number, over), daemon=True)
        thread.start()
        return thread, over

    def _beat(self, number: int, over: Event) -> None:
        beat = 0
        while not over.wait(BEAT_SECONDS):
            beat += 1
            with suppress(MlflowException):  # the next may arrive
                self._write(number, beat)
                if over.is_set():  # it arrived when the turn was over
                    self._client.delete_tag(self._run_id, self._tag)

    def _others(self) -> list[tuple[int, str]]:
        """Return number and run of all others who ask, but of those that were lost."""
        asking = self._client.search_runs([self._experiment_id], f"tags.`{self._tag}` LIKE '%'")
        found = []
        for run_id in (run.info.run_id for run in asking):
            number = None if run_id == self._run_id else self._number(run_id)
            if number is not None:
                found.append((number, run_id))
        return found

    def _number(self, run_id: str) -> int | None:
        """Return the number of another run; None where it does not ask, or was lost."""
        told = self._told(run_id)
        if told is None:
            return None
        now = time.monotonic()
        if now - self._looked > BEAT_SECONDS:  # nobody could be heard meanwhile
            self._seen.clear()
        self._looked = now
        before, since = self._seen.get(run_id, ("", now))
        self._seen[run_id] = (told, since if told == before else now)
        number, _, process = told.split(" ", 2)
        if now - self._seen[run_id][1] > LOST_SECONDS or has_ended(process):
            with suppress(MlflowException):  # or who asks next would wait as long once more
                self._client.delete_tag(run_id, self._tag)
            return None
        return int(number)

    def _told(self, run_id: str) -> str | None:
        try:
            told: str | None = self._client.get_run(run_id).data.tags.get(self._tag)
        except MlflowException as error:
            raise_if_away(error)
            return None  # it was deleted
        return told
