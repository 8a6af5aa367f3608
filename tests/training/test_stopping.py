"""A signal waits while a training is saved, and is never lost."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
import torch

from distill_lab.errors import Pruned, RunError
from distill_lab.stopping import Stopping
from distill_lab.training.checkpoint import Checkpoint
from distill_lab.training.fit import fit
from distill_lab.training.supervised import Supervised


class Told(Supervised):
    """Gets a signal in one of its batches, counted from 0; None: in none."""

    def __init__(self, batch: int | None, number: int, *args) -> None:
        super().__init__(*args)
        self.batch = batch
        self.number = number
        self.num_batches = 0

    def objective_of(self, batch):
        if self.num_batches == self.batch:
            signal.raise_signal(self.number)
        self.num_batches += 1
        return super().objective_of(batch)


@pytest.fixture
def _exits_with_143() -> Iterator[None]:
    """SIGTERM ends the program, as the command line has it."""

    def leave(number, frame):
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, leave)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("_exits_with_143")
@pytest.mark.parametrize("error", [Pruned(1, 3), RunError("no"), ValueError("no")])
def test_a_signal_that_came_before_the_training_failed_or_was_pruned_is_handled(error):
    def stopped_in_vain():
        signal.raise_signal(signal.SIGTERM)
        raise error

    with pytest.raises(SystemExit) as caught, Stopping():
        stopped_in_vain()
    assert caught.value.code == 143
    assert caught.value.__context__ is error


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_the_end_of_a_jobs_time_waits_too_where_submitit_handles_it(number):
    heard = []
    before = signal.signal(number, lambda number, frame: heard.append(number))
    try:
        with Stopping() as stopping:
            signal.raise_signal(number)
            assert (stopping.told, heard) == (True, [])
        assert heard == [number]
    finally:
        signal.signal(number, before)


@pytest.mark.usefixtures("_exits_with_143")
def test_without_a_signal_what_a_training_failed_with_is_what_is_told():
    with pytest.raises(Pruned), Stopping():
        raise Pruned(1, 3)


@pytest.mark.usefixtures("_exits_with_143")
@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)]
)
@pytest.mark.parametrize("batch", [0, 1, 2])
def test_a_training_whose_steps_are_of_several_batches_is_saved_after_the_next_step(
    net_of, regime, info, splits, hardware, tmp_path, number, error, batch
):
    steps = regime(accumulate_batches=2)  # 48 samples: batches 0 and 1, and 2 by itself

    def trained(in_batch, checkpoint):
        trainee = Told(in_batch, number, net_of(), steps, 3, 0)
        given = (info, splits, steps, hardware, 0, "a test", lambda row, epoch: None)
        try:
            return fit(trainee, *given, checkpoint).net.state_dict()
        finally:
            counts.append(trainee.num_batches)

    counts: list[int] = []
    checkpoint = Checkpoint(tmp_path / "a.ckpt", 1e9)
    with pytest.raises(error):
        trained(batch, checkpoint)
    assert checkpoint.path.exists()
    goes_on = trained(None, checkpoint)
    checkpoint.remove()
    whole = trained(None, checkpoint)
    assert counts[0] + counts[1] == counts[2] == 6, "no batch is trained twice"
    assert all(torch.equal(goes_on[name], value) for name, value in whole.items())
