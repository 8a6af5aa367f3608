from __future__ import annotations

import math
import signal
from copy import deepcopy

import numpy as np
import pytest
import torch
from pytorch_lightning.plugins.environments import SLURMEnvironment
from torch import nn

from distill_lab.contracts import Arrays, DataInfo, LossValue, Splits
from distill_lab.data.histories import Histories
from distill_lab.errors import Diverged, Pruned, RunError
from distill_lab.models.matrix_factorization import MatrixFactorization
from distill_lab.settings import Hardware
from distill_lab.training.checkpoint import Checkpoint
from distill_lab.training.fit import data_module, fit
from distill_lab.training.strategies import make_trainer
from distill_lab.training.supervised import Supervised

EVERY_SOURCE_OF_CHANCE = {
    "shift_pixels": 1,
    "horizontal_flip": True,
    "cutout_pixels": 2,
    "mixup_alpha": 0.5,
    "cutmix_alpha": 0.5,
}


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


@pytest.mark.parametrize(
    "augmentation", [{"shift_pixels": 1}, {"horizontal_flip": True}, {"cutout_pixels": 4}]
)
def test_the_augmentation_of_the_regime_reaches_the_training(train, net_of, regime, augmentation):
    plain, augmented = (
        train(Supervised(net_of(), regime(**changes), 3, seed=0)).net.state_dict()
        for changes in ({}, augmentation)
    )
    assert not same(plain, augmented)


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


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (RunError("the database of the study is away"), True),
        (Diverged("the loss is not finite"), False),
        (Pruned(1, 2), False),
    ],
)
def test_a_training_is_thrown_away_only_where_it_diverged_or_was_pruned(
    net_of, regime, info, splits, hardware, tmp_path, error, left
):
    checkpoint = Checkpoint(tmp_path / "a.ckpt", 1e-9)
    trainee = Stopped(error, net_of(), regime(), 3, 0)
    with pytest.raises(type(error)):
        fit(
            trainee,
            info,
            splits,
            trainee.regime,
            hardware,
            0,
            "a test",
            lambda row, epoch: None,
            checkpoint,
        )
    assert checkpoint.path.exists() == left


def test_nothing_is_written_to_the_working_directory(train, net_of, regime, workdir):
    train(Supervised(net_of(), regime(), 3, seed=0))
    assert list(workdir.iterdir()) == []


def test_in_a_job_of_slurm_lightning_does_not_save_requeue_and_restore_by_itself(
    hardware, monkeypatch
):
    job = {"NTASKS": "1", "JOB_NAME": "train", "JOB_ID": "7", "PROCID": "0", "LOCALID": "0"}
    for name, value in (job | {"NODEID": "0", "NODELIST": "here"}).items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    environment = make_trainer(1, hardware, [])._accelerator_connector.cluster_environment
    assert not isinstance(environment, SLURMEnvironment)


@pytest.fixture
def train_on(info, splits):
    """Trains on hardware of which single values are changed."""

    def run(trainee, on=(info, splits), **changes):
        plain = {"precision": "32-true", "channels_last": False, "compile": False}
        hardware = Hardware("cpu", 1, threads=1, **(plain | changes))
        return fit(trainee, *on, trainee.regime, hardware, 0, "a test", lambda row, epoch: None)

    return run


@pytest.fixture
def colour() -> tuple[DataInfo, Splits]:
    """Random images of three channels: with one channel both layouts are the same."""
    info = DataInfo("colour", (3, 8, 8), 3, ("a", "b", "c"), (0.5,) * 3, (0.3,) * 3)
    torch.manual_seed(0)
    parts = [Arrays(torch.rand(n, 3, 8, 8), torch.arange(n) % 3) for n in (48, 24, 24)]
    return info, Splits(*parts)


def convolutions() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),  # a bias would have a gradient of pure rounding
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )


def test_bf16_keeps_float32_weights_and_learns(net_of, regime, train_on):
    trainee = Supervised(net_of(), regime(epochs=6), 3, seed=0)
    fitted = train_on(trainee, precision="bf16-mixed")
    assert all(parameter.dtype == torch.float32 for parameter in fitted.net.parameters())
    assert fitted.curve[-1]["val/accuracy"] > 0.9


def test_bf16_gradients_can_be_clipped(net_of, regime, train_on):
    clipped = regime(epochs=1, batch_size=48, optimizer="sgd", lr=1.0, momentum=0.0, clip_norm=0.01)
    net = train_on(Supervised(net_of(), clipped, 3, seed=0), precision="bf16-mixed").net
    before, after = (
        torch.cat([parameter.detach().flatten() for parameter in one.parameters()])
        for one in (net_of(), net)
    )
    assert float((after - before).norm()) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("accelerator", ["cpu", "auto"])
def test_fp16_is_refused_on_a_cpu_with_the_key_and_what_to_choose(
    net_of, regime, info, splits, accelerator, monkeypatch
):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    hardware = Hardware(accelerator, 1, "16-mixed", channels_last=False, compile=False, threads=1)
    trainee = Supervised(net_of(), regime(), 3, seed=0)
    with pytest.raises(RunError, match=r"^hardware\.precision: 16-mixed needs a GPU.*bf16-mixed"):
        fit(trainee, info, splits, trainee.regime, hardware, 0, "a test", lambda row, epoch: None)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_channels_last_trains_the_same_network_up_to_rounding(regime, train_on, colour, optimizer):
    averaged = regime(optimizer=optimizer, ema_decay=0.5, mixup_alpha=0.2)
    plain, laid_out = (
        train_on(Supervised(convolutions(), averaged, 3, seed=0), colour, channels_last=last)
        for last in (False, True)
    )
    for name, value in plain.net.state_dict().items():
        torch.testing.assert_close(laid_out.net.state_dict()[name], value, rtol=1e-3, atol=1e-5)


def test_channels_last_reaches_the_network_and_is_undone_afterwards(regime, train_on, colour):
    net, layouts = convolutions(), set()

    def look(module, inputs, output):
        last = inputs[0].is_contiguous(memory_format=torch.channels_last)
        weight = module.weight.is_contiguous(memory_format=torch.channels_last)
        layouts.add((module.training, last, weight))

    handle = net[0].register_forward_hook(look)
    train_on(Supervised(net, regime(epochs=1), 3, seed=0), colour, channels_last=True)
    handle.remove()
    assert layouts == {(True, True, True), (False, True, True)}
    assert all(parameter.is_contiguous() for parameter in net.parameters())


@pytest.mark.parametrize(("channels", "last"), [(4, False), (15, False), (16, True)])
def test_a_strided_1x1_convolution_of_few_channels_is_not_trained_channels_last(
    regime, train_on, colour, channels, last
):
    # Its gradient in that layout overran its memory and ended the process.
    wide = nn.Conv2d(3, channels, 3)
    narrow = nn.Conv2d(channels, 16, 1, stride=2)
    net = nn.Sequential(wide, narrow, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3))
    layouts = []
    net.register_forward_pre_hook(
        lambda module, inputs: layouts.append(
            inputs[0].is_contiguous(memory_format=torch.channels_last)
        )
    )
    train_on(Supervised(net, regime(epochs=1), 3, seed=0), colour, channels_last=True)
    assert set(layouts) == {last}


def test_channels_last_does_nothing_to_a_network_without_images(net_of, regime, train_on):
    plain, laid_out = (
        train_on(Supervised(net_of(), regime(), 3, seed=0), channels_last=last).net.state_dict()
        for last in (False, True)
    )
    assert same(plain, laid_out)


@pytest.mark.slow
def test_a_compiled_training_gives_the_network_of_a_plain_one(net_of, regime, train_on):
    small = regime(batch_size=32, ema_decay=0.5)  # 32, then 16: two shapes
    plain, compiled = (
        train_on(Supervised(net_of(), small, 3, seed=0), compile=wanted).net
        for wanted in (False, True)
    )
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], value, rtol=1e-3, atol=1e-5)
    assert compiled._compiled_call_impl is None


def test_a_training_that_cannot_be_compiled_is_refused(net_of, regime, train_on, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(RunError, match=r"^hardware\.compile: needs a C\+\+ compiler"):
        train_on(Supervised(net_of(), regime(), 3, seed=0), compile=True)


def test_where_items_are_ranked_the_best_epoch_is_that_of_their_places(regime, hardware):
    # Eight users have seven neighbours of fourteen items each, so the next item can be learnt.
    users, items = np.repeat(np.arange(8), 7), np.concatenate([np.arange(7) + u for u in range(8)])
    histories = Histories(2, None)
    info, splits = histories.info("items", 14), histories.splits(users, items, np.arange(56))
    torch.manual_seed(1)  # accuracy is highest at another epoch
    net = MatrixFactorization(
        input_shape=(2,), num_classes=info.num_classes, vocabulary_size=15, factors=4
    )
    states = []
    trainee = Supervised(net, regime(epochs=6, lr=0.1), info.num_classes, 0)

    def log(row, epoch):
        states.append(deepcopy(net.state_dict()))

    fitted = fit(trainee, info, splits, trainee.regime, hardware, 0, "items", log)
    gains = [mean_gain(net, state, splits.validation) for state in states]
    assert [row["val/ndcg10"] for row in fitted.curve] == pytest.approx(gains)
    assert all(row["val/hr10"] >= row["val/ndcg10"] for row in fitted.curve)
    ranks = [(gain, -row["val/nll"]) for gain, row in zip(gains, fitted.curve, strict=True)]
    assert fitted.kept_epoch == 1 + ranks.index(max(ranks))
    accuracies = [row["val/accuracy"] for row in fitted.curve]
    assert accuracies[fitted.kept_epoch - 1] < max(accuracies)


def mean_gain(net, state, asked):
    """NDCG@10 from the definition: users one by one, without the items that they had."""
    net.load_state_dict(state)
    logits, gains = net(asked.inputs).tolist(), []
    for user, target in enumerate(asked.targets.tolist()):
        had = {item for row, item in asked.had.tolist() if row == user}
        above = [i for i, x in enumerate(logits[user]) if x > logits[user][target] and i not in had]
        gains.append(1 / math.log2(2 + len(above)) if len(above) < 10 else 0.0)
    return sum(gains) / len(gains)


def test_labels_are_noisy_in_training_and_nowhere_else(info, splits, regime):
    data = data_module(info, splits, regime(label_noise=0.25), seed=0)
    clean = splits.train.targets.clone()
    batches = list(data.train_pass(0, torch.device("cpu")))
    index = torch.cat([batch.index for batch in batches])
    seen = torch.cat([batch.targets for batch in batches])
    assert int((seen != clean[index]).sum()) == 12  # of 48
    assert torch.equal(splits.train.targets, clean)
    validated = torch.cat([batch.targets for batch in data.val_dataloader()])
    assert torch.equal(validated, splits.validation.targets)
    assert torch.equal(data.splits.test.targets, splits.test.targets)


def test_a_watched_training_ends_early_where_the_watch_says_so(
    net_of, regime, info, splits, hardware
):
    trainee, told = Supervised(net_of(), regime(epochs=5), 3, seed=0), []

    def watch(epoch, quality):
        told.append((epoch, quality))
        return epoch == 2

    with pytest.raises(Pruned, match="pruned after epoch 2 of 5"):
        fit(
            trainee,
            info,
            splits,
            trainee.regime,
            hardware,
            0,
            "a test",
            lambda row, epoch: None,
            watch=watch,
        )
    assert [epoch for epoch, _ in told] == [1, 2]
    assert [row["val/accuracy"] for row in trainee.curve] == [quality for _, quality in told]
