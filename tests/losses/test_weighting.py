from __future__ import annotations

import pytest
import torch

from distill_lab.contracts import DistillBatch, Output
from distill_lab.losses.ce import CE
from distill_lab.losses.kd import KD
from distill_lab.losses.objective import Objective
from distill_lab.losses.weighting import weight_factor


def test_no_schedule_is_a_factor_of_one():
    assert weight_factor({}, 3.0, 10) == 1.0


@pytest.mark.parametrize(
    ("schedule", "epoch", "by_hand"),
    [
        ({"linear": [1.0, 0.0]}, 2.5, 0.75),
        ({"linear": [0, 2]}, 10.0, 2.0),
        ({"cosine": [1.0, 0.0]}, 5.0, 0.5),
        ({"cosine": [0.0, 1.0]}, 0.0, 0.0),
        ({"warmup": 20}, 0.0, 0.05),
        ({"warmup": 20}, 0.99, 0.05),
        ({"warmup": 20}, 30.0, 1.0),
        ({"stop": 5}, 4.99, 1.0),
        ({"stop": 5}, 5.0, 0.0),
    ],
)
def test_factor_by_hand(schedule, epoch, by_hand):
    assert weight_factor(schedule, epoch, 10) == pytest.approx(by_hand)


def batch(epoch):
    torch.manual_seed(0)
    teacher = (Output(torch.randn(4, 3)),)
    targets, index = torch.tensor([0, 1, 2, 0]), torch.arange(4)
    student = Output(torch.randn(4, 3))
    return DistillBatch(student, teacher, targets, index, 4.0, epoch=epoch, num_epochs=10)


def test_a_term_that_has_stopped_does_not_count():
    objective = Objective({"ce": CE(1.0), "kd": KD(0.9)}, {"kd": {"stop": 2}})
    before, after = objective(batch(1.0)), objective(batch(2.0))
    torch.testing.assert_close(before.total, before.terms["ce"] + 0.9 * before.terms["kd"])
    torch.testing.assert_close(after.total, after.terms["ce"])


def test_a_schedule_of_a_term_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"no term 'kdd'. Did you mean 'kd'\?"):
        Objective({"kd": KD(0.9)}, {"kdd": {"stop": 2}})
