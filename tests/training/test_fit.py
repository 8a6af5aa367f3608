from __future__ import annotations

import signal
from copy import deepcopy

import pytest
import torch

from distill_lab.contracts import LossValue
from distill_lab.settings import Hardware
from distill_lab.training.fit import fit
from distill_lab.training.supervised import Supervised

EVERY_SOURCE_OF_CHANCE = {"shift_pixels": 1, "horizontal_flip": True, "mixup_alpha": 0.5}


class Spoiled(Supervised):
    """Unlearns from a given share of the training on, so that a middle epoch is the best."""

    turn = 0.4

    def objective_of(self, batch):
        value = super().objective_of(batch)
        sign = 1.0 if self.progress < self.turn else -1.0
        return LossValue(sign * value.total, value.terms)


class Stopped(Supervised):
    """Raises what it is given in the middle of the second epoch."""

    def __init__(self, error: BaseException, *args) -> None:
        super().__init__(*args)
        self.error = error

    def objective_of(self, batch):
        if self.progress > 0.6:
            raise self.error
        return super().objective_of(batch)


@pytest.fixture
def snapshots(train):
    """Trains, and returns what `fit` does beside the weights after every epoch."""

    def run(trainee):
        states = []
        fitted = train(
            trainee, log=lambda row, epoch: states.append(deepcopy(trainee.net.state_dict()))
        )
        return fitted, states

    return run


def same(first: dict, second: dict) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


def weights(train, net_of, regime, seed: int) -> dict:
    chancy = regime(**EVERY_SOURCE_OF_CHANCE)
    trainee = Supervised(net_of(dropout=0.3), chancy, 3, seed=seed)
    return train(trainee, seed=seed).net.state_dict()


def test_the_same_seed_gives_the_same_weights_bit_by_bit(train, net_of, regime):
    first = weights(train, net_of, regime, seed=7)
    torch.rand(3)  # what was drawn before does not matter
    assert same(first, weights(train, net_of, regime, seed=7))


def test_another_seed_gives_other_weights(train, net_of, regime):
    first, other = (weights(train, net_of, regime, seed) for seed in (7, 8))
    assert not same(first, other)


def test_the_seed_decides_the_order_of_batches_alone_too(train, net_of, regime):
    first, other = (
        train(Supervised(net_of(), regime(), 3, seed=0), seed=seed).net.state_dict()
        for seed in (0, 1)
    )
    assert not same(first, other)


def test_the_best_epochs_weights_are_kept(snapshots, net_of, regime):
    fitted, states = snapshots(Spoiled(net_of(), regime(epochs=8), 3, 0))
    ranks = [(row["val/accuracy"], -row["val/nll"]) for row in fitted.curve]
    best = ranks.index(max(ranks))
    assert 0 < best < 7
    assert fitted.kept_epoch == best + 1
    assert same(fitted.net.state_dict(), states[best])
    assert not same(fitted.net.state_dict(), states[-1])


def test_the_last_epochs_weights_are_kept_if_so_asked(snapshots, net_of, regime):
    fitted, states = snapshots(Spoiled(net_of(), regime(epochs=8, keep="last"), 3, 0))
    assert fitted.kept_epoch == 8
    assert same(fitted.net.state_dict(), states[-1])


def test_training_stops_early(train, net_of, regime):
    spoiled = Spoiled(net_of(), regime(epochs=12, early_stop_epochs=2), 3, 0)
    fitted = train(spoiled)
    assert len(fitted.curve) == fitted.kept_epoch + 2
    assert len(fitted.curve) < 12


def test_a_row_is_logged_per_epoch(train, net_of, regime):
    logged = []
    trainee = Supervised(net_of(), regime(epochs=3), 3, seed=0)
    fitted = train(trainee, log=lambda row, epoch: logged.append((epoch, row)))
    assert logged == list(enumerate(fitted.curve))
    assert len(logged) == 3


def test_the_network_comes_back_in_eval_mode_and_it_is_the_one_that_was_given(
    train, net_of, regime
):
    net = net_of(dropout=0.5)
    fitted = train(Supervised(net, regime(), 3, seed=0))
    assert fitted.net is net
    assert not any(module.training for module in net.modules())
    assert fitted.seconds > 0


def test_the_test_split_is_never_read(train, net_of, regime, splits):
    train(Supervised(net_of(), regime(), 3, seed=0), on=splits._replace(test=None))


def test_ctrl_c_surfaces_as_keyboard_interrupt_and_works_again_afterwards(train, net_of, regime):
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(Stopped(KeyboardInterrupt(), net_of(), regime(), 3, 0))
    assert signal.getsignal(signal.SIGINT) is handler


def test_another_exit_is_not_mistaken_for_ctrl_c(train, net_of, regime):
    with pytest.raises(SystemExit) as caught:
        train(Stopped(SystemExit(3), net_of(), regime(), 3, 0))
    assert caught.value.code == 3


def test_errors_of_the_loss_surface_as_they_are(train, net_of, regime):
    with pytest.raises(ValueError, match="taps do not fit"):
        train(Stopped(ValueError("taps do not fit"), net_of(), regime(), 3, 0))


def test_nothing_is_written_to_the_working_directory(train, net_of, regime, workdir):
    train(Supervised(net_of(), regime(), 3, seed=0))
    assert list(workdir.iterdir()) == []


def test_bf16_keeps_float32_weights_and_learns(net_of, regime, info, splits):
    hardware = Hardware("cpu", 1, "bf16-mixed", channels_last=False, compile=False, threads=1)
    trainee = Supervised(net_of(), regime(epochs=6), 3, seed=0)
    fitted = fit(
        trainee, info, splits, trainee.regime, hardware, 0, "a test", lambda row, epoch: None
    )
    assert all(parameter.dtype == torch.float32 for parameter in fitted.net.parameters())
    assert fitted.curve[-1]["val/accuracy"] > 0.9
