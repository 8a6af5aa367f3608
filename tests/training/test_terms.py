from __future__ import annotations

import pytest
import torch

from distill_lab.contracts import LossValue
from distill_lab.errors import RunError
from distill_lab.training.terms import EpochTerms

NAN, INF = float("nan"), float("inf")


def value(ce: float, kd: float, total: float | None = None) -> LossValue:
    terms = {"ce": torch.tensor(ce), "kd": torch.tensor(kd)}
    return LossValue(torch.tensor(ce + kd if total is None else total), terms)


def collect(check_every: int, *values: LossValue) -> EpochTerms:
    terms = EpochTerms(check_every)
    for one in values:
        terms.add(one)
    return terms


@pytest.mark.parametrize("check_every", [1, 2, 3, 50])
def test_means_are_over_the_batches_of_the_epoch(check_every):
    terms = collect(check_every, value(1.0, 4.0), value(2.0, 5.0), value(6.0, 0.0))
    assert terms.finish_epoch() == {"ce": 3.0, "kd": 3.0, "total": 6.0}


def test_the_next_epoch_starts_anew():
    terms = collect(2, value(1.0, 4.0))
    terms.finish_epoch()
    terms.add(value(8.0, 2.0))
    assert terms.finish_epoch() == {"ce": 8.0, "kd": 2.0, "total": 10.0}


@pytest.mark.parametrize("check_every", [1, 50])
def test_the_mean_of_a_term_that_stops_is_over_the_batches_it_was_in(check_every):
    stopped = LossValue(torch.tensor(3.0), {"ce": torch.tensor(3.0)})
    terms = collect(check_every, value(1.0, 4.0), value(2.0, 5.0), stopped)
    assert terms.finish_epoch() == {"ce": 2.0, "kd": 4.5, "total": 5.0}


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_each_batch_is_checked_at_once_if_so_asked(bad):
    terms = collect(1, value(1.0, 1.0))
    with pytest.raises(RunError, match=r"^epoch 0, batch 1: loss term 'kd' .*before the step"):
        terms.add(value(1.0, bad))


def test_otherwise_nothing_is_looked_at_before_the_interval_is_full():
    terms = collect(3, value(1.0, 1.0), value(NAN, 1.0))
    with pytest.raises(RunError, match="stopped within 3 steps"):
        terms.add(value(1.0, 1.0))


def test_what_the_interval_leaves_is_looked_at_when_the_epoch_ends():
    terms = collect(3, *[value(1.0, 1.0)] * 4, value(1.0, NAN))
    with pytest.raises(RunError, match=r"^epoch 0, batch 4: loss term 'kd'"):
        terms.finish_epoch()


def test_the_first_bad_batch_and_its_first_bad_term_are_named():
    terms = collect(4, value(1.0, 1.0))
    terms.finish_epoch()
    for one in (value(1.0, 1.0), value(0.5, NAN), value(NAN, NAN)):
        terms.add(one)
    with pytest.raises(RunError) as caught:
        terms.add(value(1.0, 1.0))
    assert str(caught.value).startswith("epoch 1, batch 1: loss term 'kd' is not finite")
    assert "(ce = 0.5, kd = nan)" in str(caught.value)
    assert "regime.lr" in str(caught.value)


def test_a_total_that_overflows_is_told_from_a_broken_term():
    with pytest.raises(RunError, match="the weighted total is not finite"):
        collect(1, value(1.0, 1.0, total=INF))


def test_what_is_collected_holds_no_graph():
    weight = torch.ones(1, requires_grad=True)
    loss = (2 * weight).sum()
    terms = collect(50, LossValue(loss, {"ce": loss}))
    assert not any(values.requires_grad for values in terms._unchecked)
