"""A training that is told to stop is saved between two steps."""

from __future__ import annotations

import signal

import pytest
import torch

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


@pytest.mark.usefixtures("exits_with_143")
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
