"""A training that is stopped and goes on gives, bit by bit, the numbers of one that was not."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from distill_lab.losses.ce import CE
from distill_lab.losses.kd import KD
from distill_lab.losses.objective import Objective
from distill_lab.temperature import Linear
from distill_lab.training.checkpoint import Checkpoint
from distill_lab.training.connect import connected_objective
from distill_lab.training.distiller import Distiller
from distill_lab.training.fit import fit
from distill_lab.training.supervised import Supervised
from tests.every_loss import LOSSES, sound

AT_ONCE = 1e-9  # seconds between two saves
EVERY_SOURCE_OF_CHANCE = {
    "shift_pixels": 1,
    "horizontal_flip": True,
    "cutout_pixels": 2,
    "mixup_alpha": 0.5,
    "cutmix_alpha": 0.5,
}


class PowerCut(Exception):
    """Ends a training as a killed process would: nothing is saved on the way out."""


def cut_after(trainee, num_batches: int):
    """Let a trainee's process "die" in the batch after so many."""
    step, had = trainee.training_step, []

    def training_step(batch, batch_idx):
        if len(batch.index):
            if len(had) == num_batches:
                raise PowerCut
            had.append(batch_idx)
        return step(batch, batch_idx)

    trainee.training_step = training_step
    return had


@pytest.fixture
def compare(info, splits, hardware, tmp_path):
    """Trains as it is, and again with a cut after each of some batches; all must be alike."""

    def run(make, cuts=(3, 4), on=(info, splits), every=AT_ONCE) -> None:
        def go(trainee, log, checkpoint=None):
            return fit(trainee, *on, trainee.regime, hardware, 0, "a test", log, checkpoint)

        rows: list = []
        whole = go(make(), lambda row, epoch: rows.append((epoch, row)))
        checkpoint = Checkpoint(tmp_path / "training.ckpt", every)
        for number in cuts:
            trainee = make()
            cut_after(trainee, number)
            with pytest.raises(PowerCut):
                go(trainee, lambda row, epoch: None, checkpoint)
        trainee, again = make(), []
        had = cut_after(trainee, 10**6)
        resumed = go(trainee, lambda row, epoch: again.append((epoch, row)), checkpoint)
        assert again == rows
        assert resumed.curve == whole.curve
        assert resumed.kept_epoch == whole.kept_epoch
        for name, value in whole.net.state_dict().items():
            assert torch.equal(value, resumed.net.state_dict()[name]), name
        num_batches = len(rows) * -(-len(on[1].train.targets) // trainee.regime.batch_size)
        assert len(had) < num_batches

    return run


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "sgd", "schedule": "one_cycle", "clip_norm": 0.5},
        {"optimizer": "dot"},
        {"ema_decay": 0.8},
        {"accumulate_batches": 2, "keep": "last"},
        {"early_stop_epochs": 1, "epochs": 6, "lr": 0.3},
        EVERY_SOURCE_OF_CHANCE,
    ],
    ids=str,
)
def test_a_cut_training_ends_with_the_same_weights_and_curve(compare, net_of, regime, changes):
    settings = regime(**{"epochs": 3, **changes})
    compare(lambda: Supervised(net_of(dropout=0.3), settings, 3, seed=0))


@pytest.mark.parametrize("cut", [2, 3, 5])
def test_a_cut_may_be_at_the_end_of_an_epoch_and_in_any_other_batch(compare, net_of, regime, cut):
    compare(lambda: Supervised(net_of(dropout=0.3), regime(epochs=3), 3, seed=0), cuts=(cut,))


def test_a_distillation_goes_on_with_its_temperature_and_the_balance_of_its_terms(
    compare, net_of, regime
):
    teacher = net_of(16, seed=1)

    def make():
        terms = Objective({"ce": CE(weight=0.5), "kd": KD(weight=0.5)})
        settings = regime(epochs=3, ema_decay=0.7)
        return Distiller(
            net_of(), [teacher], terms, Linear(8.0, 1.0), settings, 3, 0, balance_every=2
        )

    compare(make)


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_a_training_by_any_loss_goes_on_with_the_same_numbers(compare, regime, name):
    parts = sound(name)
    if parts.data.info.name not in ("fake", "fake_text"):
        pytest.skip("its data are downloaded")
    info, splits = parts.data.info, parts.data.load()
    small = {
        part: one._replace(inputs=one.inputs[:48], targets=one.targets[:48])
        for part, one in splits._asdict().items()
    }
    splits = splits._replace(**small)

    def net_of(architecture, seed):
        torch.manual_seed(seed)
        return architecture.make_network(info)

    settings = regime(epochs=4)

    def make():
        student, teacher = net_of(parts.students[0], 0), net_of(parts.teachers[0], 1)
        objective = connected_objective(parts.loss, student, [teacher], info.input_shape, 48, 0)
        return Distiller(
            student, [teacher], objective, Linear(8.0, 1.0), settings, info.num_classes, 0
        )

    compare(make, on=(info, splits), cuts=(2, 5))


def test_a_training_that_had_come_to_its_end_is_not_begun_again(
    net_of, regime, info, splits, hardware, tmp_path
):
    checkpoint = Checkpoint(tmp_path / "training.ckpt", AT_ONCE)

    def go(trainee, log):
        return fit(trainee, info, splits, regime(), hardware, 0, "a test", log, checkpoint)

    whole = go(Supervised(net_of(), regime(), 3, seed=0), lambda row, epoch: None)
    trainee, rows = Supervised(net_of(), regime(), 3, seed=0), []
    had = cut_after(trainee, 0)
    again = go(trainee, lambda row, epoch: rows.append((epoch, row)))
    assert had == []
    assert rows == list(enumerate(whole.curve))
    assert again.seconds == whole.seconds
    assert not again.net.training
    first, second = whole.net.state_dict(), again.net.state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_short_training_writes_nothing(net_of, regime, info, splits, hardware, tmp_path):
    checkpoint = Checkpoint(tmp_path / "training.ckpt", 60.0)
    trainee = Supervised(net_of(), regime(), 3, seed=0)
    fit(trainee, info, splits, regime(), hardware, 0, "a test", lambda *_: None, checkpoint)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("when", ["training_step", "validation_step"])
def test_a_signal_is_handled_after_the_training_was_saved(
    net_of, regime, info, splits, hardware, tmp_path, number, when
):
    class Told(Exception):
        pass

    def handler(*_):
        raise Told

    checkpoint = Checkpoint(tmp_path / "training.ckpt", 60.0)
    trainee = Supervised(net_of(), regime(), 3, seed=0)
    step, done = getattr(trainee, when), []

    def raising(batch, batch_idx):
        signal.raise_signal(number)
        step(batch, batch_idx)
        done.append(batch_idx)

    setattr(trainee, when, raising)
    before = signal.signal(number, handler)
    try:
        with pytest.raises(Told):
            fit(trainee, info, splits, regime(), hardware, 0, "t", lambda *_: None, checkpoint)
        assert signal.getsignal(number) is handler
    finally:
        signal.signal(number, before)
    assert done == [0], "the step was finished, and no other one begun"
    saved = checkpoint.read()
    assert saved["position"] == ((0, 1) if when == "training_step" else (0, 3))


def test_the_second_signal_is_handled_at_once(net_of, regime, info, splits, hardware, tmp_path):
    checkpoint = Checkpoint(tmp_path / "training.ckpt", 60.0)
    trainee = Supervised(net_of(), regime(), 3, seed=0)

    def raising(batch, batch_idx):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    trainee.training_step = raising
    with pytest.raises(KeyboardInterrupt):
        fit(trainee, info, splits, regime(), hardware, 0, "t", lambda *_: None, checkpoint)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", ["cut", "altered"])
def test_a_damaged_checkpoint_is_named_and_the_training_begins_anew(
    net_of, regime, info, splits, hardware, tmp_path, caplog, how
):
    checkpoint = Checkpoint(tmp_path / "training.ckpt", AT_ONCE)

    def go(trainee):
        return fit(
            trainee, info, splits, regime(), hardware, 0, "a test", lambda *_: None, checkpoint
        )

    whole = go(Supervised(net_of(), regime(), 3, seed=0))
    content = bytearray(checkpoint.path.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.path.write_bytes(content[:-100] if how == "cut" else content)
    trainee = Supervised(net_of(), regime(), 3, seed=0)
    had = cut_after(trainee, 10**6)
    again = go(trainee)
    assert len(had) == 6
    assert "training.ckpt does not have its SHA-256" in caplog.text
    assert again.curve == whole.curve


def test_where_a_checkpoint_cannot_be_written_training_goes_on(
    net_of, regime, info, splits, hardware, tmp_path, caplog
):
    (tmp_path / "taken").write_text("a file where a folder should be")
    checkpoint = Checkpoint(tmp_path / "taken" / "training.ckpt", AT_ONCE)
    trainee = Supervised(net_of(), regime(), 3, seed=0)
    fitted = fit(
        trainee, info, splits, regime(), hardware, 0, "a test", lambda *_: None, checkpoint
    )
    assert len(fitted.curve) == 2
    assert "cannot be written" in caplog.text


class Harmful:
    def __reduce__(self):
        return (os.system, ("touch harm",))


def test_a_checkpoint_that_would_run_code_is_refused(workdir, caplog):
    checkpoint = Checkpoint(workdir / "training.ckpt", AT_ONCE)
    checkpoint.write({"weights": Harmful()})
    assert checkpoint.read() is None
    assert "asks for code" in caplog.text
    assert not (workdir / "harm").exists()
