from __future__ import annotations

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from distill_lab.contracts import LossValue
from distill_lab.errors import RunError
from distill_lab.settings import Hardware
from distill_lab.training.fit import fit
from distill_lab.training.supervised import Supervised
from distill_lab.training.trainee import Trainee


class Recorder(Supervised):
    """Writes down what there is at every step, and can multiply the loss."""

    scale = 1.0

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.seen: dict[str, list] = {
            name: [] for name in ("progress", "loss", "rate", "index", "inputs", "targets")
        }
        self.raw: list[dict] = []

    def objective_of(self, batch):
        value = super().objective_of(batch)
        self.seen["progress"].append(self.progress)
        self.seen["loss"].append(float(value.total.detach()))
        for name in ("index", "inputs", "targets"):
            self.seen[name].append(getattr(batch, name))
        return LossValue(self.scale * value.total, value.terms)

    def on_train_batch_end(self, *args):
        super().on_train_batch_end(*args)
        self.seen["rate"].append(self.trainer.optimizers[0].param_groups[0]["lr"])
        self.raw.append(deepcopy(self.net.state_dict()))


class Broken(Trainee):
    """Returns the given terms, and their sum, from the second step of the second epoch on."""

    def __init__(self, net, regime, **terms: float) -> None:
        super().__init__(net, regime, num_classes=3, seed=0)
        self.terms = terms
        self.before: dict[str, torch.Tensor] = {}

    def objective_of(self, batch):
        loss = F.cross_entropy(self.net(batch.inputs), batch.targets)
        if self.progress < 0.6:
            return LossValue(loss, {"ce": loss})
        self.before = deepcopy(self.net.state_dict())
        terms = {name: loss * 0 + value for name, value in self.terms.items()}
        return LossValue(sum(terms.values()), terms)


def batch_norm_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))


def normalised(arrays, info):
    return (arrays.inputs - info.mean[0]) / info.std[0], arrays.targets


def assert_same(first: dict, second: dict, **tolerance: float) -> None:
    assert list(first) == list(second)
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], **tolerance)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_training_is_that_of_a_bare_loop(net_of, regime, train, info, splits, optimizer):
    # One batch holds the whole split, so the order of samples does not matter.
    decaying = regime(
        epochs=5,
        batch_size=48,
        optimizer=optimizer,
        lr=0.02,
        momentum=0.8,
        weight_decay=0.1,
        schedule="cosine",
        keep="last",
    )
    fitted = train(Supervised(net_of(), decaying, 3, seed=0))
    net = net_of()
    inputs, targets = normalised(splits.train, info)
    bare = {
        "sgd": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.8, weight_decay=0.1),
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.02, betas=(0.8, 0.999), weight_decay=0.1),
    }[optimizer](net.parameters())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(bare, T_max=5)
    for _ in range(5):
        bare.zero_grad()
        F.cross_entropy(net(inputs), targets).backward()
        bare.step()
        schedule.step()
    assert_same(fitted.net.state_dict(), net.state_dict(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_optimizer_is_fused(net_of, regime, train, optimizer):
    trainee = Supervised(net_of(), regime(epochs=1, optimizer=optimizer), 3, seed=0)
    train(trainee)
    (group,) = trainee.trainer.optimizers[0].param_groups
    assert group["fused"] is True


def test_progress_runs_from_zero_in_equal_steps(net_of, regime, train):
    recorder = Recorder(net_of(), regime(epochs=2, batch_size=16), 3, 0)
    train(recorder)
    assert recorder.seen["progress"] == pytest.approx([step / 6 for step in range(6)])


def test_the_rate_follows_the_schedule_step_by_step(net_of, regime, train):
    stepped = regime(schedule="step", milestone_fractions=[0.5], lr=0.01, batch_size=16)
    recorder = Recorder(net_of(), stepped, 3, 0)
    curve = train(recorder).curve
    assert recorder.seen["rate"] == pytest.approx([0.01] * 3 + [0.001] * 3)
    assert [row["train/lr"] for row in curve] == pytest.approx([0.01, 0.001])


def test_frozen_parameters_stay(net_of, regime, train):
    net = net_of()
    net.hidden.requires_grad_(False)
    before = deepcopy(net.state_dict())
    after = train(Supervised(net, regime(weight_decay=0.1), 3, seed=0)).net.state_dict()
    assert torch.equal(after["hidden.0.0.weight"], before["hidden.0.0.weight"])
    assert not torch.equal(after["classifier.weight"], before["classifier.weight"])


def test_the_optimizer_is_given_what_is_trainable_alone(net_of, regime, train):
    net = net_of()
    net.hidden.requires_grad_(False)
    trainee = Supervised(net, regime(ema_decay=0.9), 3, seed=0)
    train(trainee)
    (group,) = trainee.trainer.optimizers[0].param_groups
    assert list(map(id, group["params"])) == list(map(id, net.classifier.parameters()))


def test_the_curve_has_a_row_of_named_metrics_per_epoch(net_of, regime, train):
    recorder = Recorder(net_of(), regime(epochs=3, lr=0.01), 3, 0)
    curve = train(recorder).curve
    names = {"train/loss/ce", "train/loss/total", "train/lr", "val/accuracy", "val/nll"}
    assert [set(row) for row in curve] == [names] * 3
    assert [row["train/lr"] for row in curve] == [0.01] * 3


def test_training_losses_of_the_curve_are_the_means_over_an_epochs_batches(net_of, regime, train):
    recorder = Recorder(net_of(), regime(), 3, 0)
    recorder.scale = 10.0
    curve = train(recorder).curve
    losses = recorder.seen["loss"]
    means = [sum(losses[:3]) / 3, sum(losses[3:]) / 3]
    assert [row["train/loss/ce"] for row in curve] == pytest.approx(means)
    assert [row["train/loss/total"] for row in curve] == pytest.approx([10 * m for m in means])


def test_validation_metrics_are_of_the_epochs_last_weights(net_of, regime, train, info, splits):
    fitted = train(Supervised(net_of(), regime(keep="last"), 3, seed=0))
    inputs, targets = normalised(splits.validation, info)
    logits = fitted.net(inputs).detach()
    accuracy = float((logits.argmax(dim=1) == targets).double().mean())
    log_q = torch.log_softmax(logits, dim=1)
    nll = -float(log_q[range(len(targets)), targets].mean())
    assert fitted.curve[-1]["val/accuracy"] == pytest.approx(accuracy)
    assert fitted.curve[-1]["val/nll"] == pytest.approx(nll, rel=1e-5)


def test_a_loss_that_is_not_finite_stops_before_the_step(net_of, regime, train):
    net = net_of()
    broken = Broken(net, regime(epochs=2, batch_size=16), fine=1.0, hint=float("nan"))
    with pytest.raises(RunError) as caught:
        train(broken)
    assert "epoch 1, batch 1: loss term 'hint' is not finite" in str(caught.value)
    assert "fine = 1, hint = nan" in str(caught.value)
    assert "regime.lr" in str(caught.value)
    assert_same(net.state_dict(), broken.before, rtol=0, atol=0)


def test_a_total_that_overflows_is_told_from_a_broken_term(net_of, regime, train):
    broken = Broken(net_of(), regime(), first=3e38, second=3e38)
    with pytest.raises(RunError, match="the weighted total is not finite"):
        train(broken)


def test_the_moving_average_is_that_of_the_weights_after_each_step(net_of, regime, train):
    recorder = Recorder(net_of(), regime(ema_decay=0.7), 3, 0)
    fitted = train(recorder)
    average = recorder.raw[0]
    for weights in recorder.raw[1:]:
        average = {name: 0.7 * average[name] + 0.3 * weights[name] for name in average}
    assert len(recorder.raw) == 6
    assert_same(fitted.net.state_dict(), average)
    assert not torch.equal(
        fitted.net.state_dict()["classifier.weight"], recorder.raw[-1]["classifier.weight"]
    )


def test_the_moving_average_is_what_is_validated(net_of, regime, train, info, splits):
    fitted = train(Supervised(net_of(), regime(ema_decay=0.9, keep="last"), 3, seed=0))
    inputs, targets = normalised(splits.validation, info)
    nll = float(F.cross_entropy(fitted.net(inputs).detach(), targets))
    assert fitted.curve[-1]["val/nll"] == pytest.approx(nll, rel=1e-5)


def test_the_moving_average_takes_the_statistics_of_batch_norm_along(regime, train):
    recorder = Recorder(batch_norm_net(), regime(ema_decay=0.7), 3, 0)
    fitted = train(recorder)
    average = recorder.raw[0]["2.running_mean"]
    for weights in recorder.raw[1:]:
        average = 0.7 * average + 0.3 * weights["2.running_mean"]
    torch.testing.assert_close(fitted.net.state_dict()["2.running_mean"], average)


@pytest.mark.parametrize("ema_decay", [None, 0.5])
def test_constrained_weights_keep_to_their_norm(net_of, regime, train, ema_decay):
    fast = regime(lr=0.5, ema_decay=ema_decay)
    limited = train(Supervised(net_of(max_norm=0.3), fast, 3, seed=0)).net
    free = train(Supervised(net_of(), fast, 3, seed=0)).net
    assert float(limited.hidden[0][0].weight.detach().norm(dim=1).max()) <= 0.3 + 1e-6
    assert float(free.hidden[0][0].weight.detach().norm(dim=1).max()) > 0.3


def test_clipping_bounds_the_step(net_of, regime, train):
    clipped = regime(epochs=1, batch_size=48, optimizer="sgd", lr=1.0, momentum=0.0, clip_norm=0.05)
    recorder = Recorder(net_of(), clipped, 3, 0)
    recorder.scale = 1000.0
    before = torch.cat([p.detach().flatten() for p in net_of().parameters()])
    after = torch.cat([p.detach().flatten() for p in train(recorder).net.parameters()])
    assert float((after - before).norm()) == pytest.approx(0.05, rel=1e-3)


def test_two_batches_accumulated_are_one_of_twice_the_size(net_of, regime, train):
    plain = {"optimizer": "sgd", "lr": 0.1, "weight_decay": 0.01, "clip_norm": 0.5, "keep": "last"}
    # 48 samples: 16 + 16 and then 16 are the samples of 32 and then 16.
    halves = regime(**plain, batch_size=16, accumulate_batches=2, schedule="cosine", epochs=4)
    whole = regime(**plain, batch_size=32, schedule="cosine", epochs=4)
    first, second = (Recorder(net_of(), one, 3, 0) for one in (halves, whole))
    nets = [train(recorder).net.state_dict() for recorder in (first, second)]
    assert_same(*nets, rtol=1e-4, atol=1e-6)
    assert first.progress == second.progress == 1.0
    assert first.seen["progress"] == pytest.approx(
        [s / 8 for s in (0, 0, 1, 2, 2, 3, 4, 4, 5, 6, 6, 7)]
    )
    assert [row["train/lr"] for row in first.curve] == [row["train/lr"] for row in second.curve]


def test_weights_move_only_when_a_group_of_batches_is_complete(net_of, regime, train):
    recorder = Recorder(net_of(), regime(epochs=1, batch_size=16, accumulate_batches=2), 3, 0)
    train(recorder)
    one, two, three = (weights["classifier.weight"] for weights in recorder.raw)
    assert torch.equal(one, net_of().classifier.weight)
    assert not torch.equal(one, two)
    assert not torch.equal(two, three)


def test_the_moving_average_moves_once_a_step_and_not_once_a_batch(net_of, regime, train):
    recorder = Recorder(
        net_of(), regime(epochs=1, batch_size=16, accumulate_batches=2, ema_decay=0.7), 3, 0
    )
    fitted = train(recorder)
    _, first, second = recorder.raw
    average = {name: 0.7 * first[name] + 0.3 * second[name] for name in first}
    assert_same(fitted.net.state_dict(), average)


def test_weights_are_constrained_once_a_step(net_of, regime, train):
    net, calls = net_of(), []
    net.constrain = lambda: calls.append(1)
    train(Supervised(net, regime(epochs=2, batch_size=16, accumulate_batches=2), 3, seed=0))
    assert len(calls) == 4


def test_gradients_of_a_mixed_precision_are_not_rounded_again(net_of, regime, info, splits):
    seen = []

    class Float32Loss(torch.autograd.Function):
        @staticmethod
        def forward(ctx, total):
            return total.clone()

        @staticmethod
        def backward(ctx, gradient):
            seen.append(torch.is_autocast_enabled("cpu"))
            return gradient

    class Watched(Supervised):
        def objective_of(self, batch):
            value = super().objective_of(batch)
            assert torch.is_autocast_enabled("cpu")
            return value._replace(total=Float32Loss.apply(value.total))

    hardware = Hardware("cpu", 1, "bf16-mixed", channels_last=False, compile=False, threads=1)
    watched = Watched(net_of(), regime(epochs=1), 3, 0)
    fit(watched, info, splits, watched.regime, hardware, 0, "a test", lambda row, epoch: None)
    assert set(seen) == {False}


def test_mixup_reaches_the_loss_as_probabilities(net_of, regime, train):
    recorder = Recorder(net_of(), regime(mixup_alpha=1.0), 3, 0)
    train(recorder)
    targets = torch.cat(recorder.seen["targets"])
    assert targets.shape == (96, 3)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(96))
    assert bool(((targets > 0.01) & (targets < 0.99)).any())


def test_cutmix_reaches_the_loss_as_probabilities_and_pixels(regime, train, net_of, splits, info):
    recorder = Recorder(net_of(), regime(epochs=1, cutmix_alpha=1.0), 3, 0)
    train(recorder)
    assert torch.cat(recorder.seen["targets"]).shape == (48, 3)
    own = normalised(splits.train, info)[0][torch.cat(recorder.seen["index"])]
    changed = (torch.cat(recorder.seen["inputs"]) - own).abs() > 1e-5
    assert bool(changed.any())
    assert not bool(changed.all())


def test_the_same_seed_mixes_the_same_batches_in_the_same_way(net_of, regime, train):
    mixing = regime(mixup_alpha=1.0, cutmix_alpha=1.0)
    targets = []
    for net, seed in ((net_of(8), 3), (net_of(16), 3), (net_of(8), 4)):
        recorder = Recorder(net, mixing, 3, seed)
        train(recorder)
        targets.append(torch.cat(recorder.seen["targets"]))
    assert torch.equal(targets[0], targets[1])
    assert not torch.equal(targets[0], targets[2])


def test_without_mixup_targets_are_indices(net_of, regime, train):
    recorder = Recorder(net_of(), regime(), 3, 0)
    train(recorder)
    assert all(targets.dtype == torch.int64 for targets in recorder.seen["targets"])
