"""A process that has the program loaded, and forks a copy of itself for every command it is given.

It is run as a script, so that tests that kill the program need not load it anew each time. A
request is a line of JSON, a list of commands that run side by side; the answer is a line with the
exit status of each, negative for the signal that ended it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

from distill_lab import cli, launch, workflow  # noqa: F401 - loaded for the copies
from distill_lab.stages import (  # noqa: F401
    context,
    s1_teacher,
    s2_knowledge,
    s3_student,
    s4_loss,
    s5_control,
    s5_train,
    s6_evaluate,
)
from distill_lab.tracking import model, store  # noqa: F401
from distill_lab.training.trainee import Trainee
from tests.faults.traps import set_trap

LIMIT_SECONDS = 240.0


def start(command: dict[str, Any]) -> int:
    """Fork a copy that runs one command in its folder."""
    number = os.fork()
    if number:
        return number
    os.setsid()
    os.chdir(command["folder"])
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    os.environ.update(command["environment"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _count_batches()
    set_trap(**command["trap"])
    try:
        code = cli.main(command["words"])
        sys.stdout.flush()
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 99
    os._exit(code)


def _count_batches() -> None:
    """Write a dot for every batch that is trained on, so that it is seen which were twice."""
    step, file = Trainee.training_step, os.open("batches", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def counted(self: Trainee, batch: Any, batch_idx: int) -> None:
        if len(batch.index):
            os.write(file, b".")
        step(self, batch, batch_idx)

    Trainee.training_step = counted  # type: ignore[method-assign]


def finish(running: list[int]) -> list[int]:
    """Wait for all copies, and kill those that take too long."""
    limit = time.monotonic() + LIMIT_SECONDS
    codes: dict[int, int] = {}
    while len(codes) < len(running):
        for number in running:
            if number not in codes:
                done, status = os.waitpid(number, os.WNOHANG)
                if done:
                    codes[number] = os.waitstatus_to_exitcode(status)
                elif time.monotonic() > limit:
                    os.kill(number, signal.SIGKILL)
        time.sleep(0.01)
    return [codes[number] for number in running]


def main() -> None:
    """Serve until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        running = [start(command) for command in json.loads(line)]
        print(json.dumps(finish(running)), file=answers, flush=True)


if __name__ == "__main__":
    main()
