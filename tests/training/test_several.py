"""A training that several processes share gives what one process gives, but for rounding."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import nn

from distill_lab.data.decode import Decoder
from distill_lab.data.images import Images
from distill_lab.errors import Diverged, RunError
from distill_lab.knowledge.cache import AnswerCache
from distill_lab.losses.ce import CE
from distill_lab.losses.kd import KD
from distill_lab.losses.objective import Objective
from distill_lab.models.cnn import CNN
from distill_lab.settings import Cache
from distill_lab.temperature import Linear
from distill_lab.training.checkpoint import Checkpoint
from distill_lab.training.connect import connected_objective
from distill_lab.training.distiller import Distiller
from distill_lab.training.fit import fit
from distill_lab.training.supervised import Supervised
from tests.every_loss import LOSSES, sound

NUM_TRAIN = 47  # with batches of 14 the last one has 5, of which one process gets 3 and one 2


def without_dropout(net: nn.Module) -> nn.Module:
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return net


@pytest.fixture
def compare(info, splits, hardware):
    """Trains alone, then with another process; curves and weights must be the same."""

    def run(make, on=(info, splits), tolerance=1e-4, strategy="ddp", few=True):
        data, arrays = on
        if few:
            inputs, targets = arrays.train.inputs[:NUM_TRAIN], arrays.train.targets[:NUM_TRAIN]
            arrays = arrays._replace(train=arrays.train._replace(inputs=inputs, targets=targets))
        ended = []
        for machine in (hardware, replace(hardware, strategy=strategy, devices=2)):
            rows: list = []
            trainee = make()
            fitted = fit(
                trainee,
                data,
                arrays,
                trainee.regime,
                machine,
                0,
                "a test",
                lambda row, epoch, rows=rows: rows.append((epoch, row)),
            )
            assert rows == list(enumerate(fitted.curve))
            ended.append(fitted)
        alone, together = ended
        assert together.kept_epoch == alone.kept_epoch
        for one, other in zip(alone.curve, together.curve, strict=True):
            assert other == pytest.approx(one, rel=tolerance, abs=tolerance)
        for name, value in alone.net.state_dict().items():
            found = together.net.state_dict()[name]
            torch.testing.assert_close(found, value, rtol=tolerance, atol=tolerance, msg=name)

    return run


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_any_loss_is_that_of_the_whole_batch(compare, regime, name):
    parts = sound(name)
    if parts.data.info.name not in ("fake", "fake_text"):
        pytest.skip("its data are downloaded")
    info = parts.data.info

    def net_of(architecture, seed):
        torch.manual_seed(seed)
        return without_dropout(architecture.make_network(info))

    settings = regime(epochs=3, batch_size=14, optimizer="sgd", lr=0.003)

    def make():
        student, teacher = net_of(parts.students[0], 0), net_of(parts.teachers[0], 1)
        objective = connected_objective(
            parts.loss, student, [teacher], info.input_shape, NUM_TRAIN, 0
        )
        return Distiller(
            student, [teacher], objective, Linear(8.0, 1.0), settings, info.num_classes, 0
        )

    compare(make, on=(info, parts.data.load()))


def test_labels_alone_and_a_last_batch_that_is_odd(compare, net_of, regime):
    compare(lambda: Supervised(net_of(), regime(batch_size=14), 3, seed=0))


def test_batch_norms_see_the_whole_batch_however_it_is_drawn_and_mixed(compare, regime, info):
    drawn = {"shift_pixels": 1, "horizontal_flip": True, "cutout_pixels": 2, "cutmix_alpha": 0.5}
    steps = {"optimizer": "sgd", "accumulate_batches": 2, "ema_decay": 0.8, "clip_norm": 0.5}
    settings = regime(epochs=3, batch_size=14, mixup_alpha=0.5, **drawn, **steps)

    def make():
        torch.manual_seed(0)
        shapes = {"input_shape": info.input_shape, "num_classes": 3}
        net = CNN(**shapes, channels=[4, 8], convs_per_block=1, kernel_size=3, dropout=0.0)
        return Supervised(net, settings, 3, seed=0)

    compare(make)


@pytest.mark.parametrize("changes", [{}, {"optimizer": "dot"}], ids=str)
def test_two_gradients_and_the_balance_of_terms_are_those_of_the_whole_batch(
    compare, net_of, regime, changes
):
    settings = regime(**{"epochs": 3, "batch_size": 14, "optimizer": "sgd", **changes})

    def make():
        terms = Objective({"ce": CE(weight=0.5), "kd": KD(weight=0.5)})
        nets = net_of(), [net_of(16, seed=1)]
        return Distiller(*nets, terms, Linear(8.0, 1.0), settings, 3, 0, balance_every=2)

    compare(make)


def test_early_stopping_ends_all_processes(compare, net_of, regime):
    settings = regime(epochs=9, batch_size=14, early_stop_epochs=1, lr=0.3)
    compare(lambda: Supervised(net_of(), settings, 3, seed=0))


def test_each_answer_of_a_teacher_is_computed_and_kept_once(
    compare, net_of, regime, tmp_path, splits
):
    settings = Cache("lazy", str(tmp_path), "fp32", views=None, top_k=None, features="pooled")
    caches = []

    def make():
        folder = tmp_path / f"fake-{len(caches)}"
        caches.append(AnswerCache(folder, NUM_TRAIN, 3, {}, settings, changing=False))
        terms = Objective({"kd": KD(weight=1.0)})
        nets = net_of(), [net_of(16, seed=1)]
        how = regime(batch_size=14)
        return Distiller(*nets, terms, Linear(4.0, 4.0), how, 3, 0, caches[-1:])

    compare(make)
    assert [cache.num_computed for cache in caches] == [NUM_TRAIN, NUM_TRAIN]
    assert [cache.num_read for cache in caches] == [NUM_TRAIN, NUM_TRAIN]
    names = [sorted(file.name for file in cache.folder.glob("*.rows")) for cache in caches]
    assert names[0] == names[1] != []


@pytest.mark.parametrize(
    "changes",
    [{}, {"optimizer": "sgd", "accumulate_batches": 2, "shift_pixels": 1, "cutmix_alpha": 0.5}],
    ids=str,
)
def test_weights_that_are_sharded_become_the_same(compare, net_of, regime, changes):
    settings = regime(**{"batch_size": 14, **changes})
    compare(lambda: Supervised(net_of(), settings, 3, seed=0), strategy="fsdp")


@pytest.mark.slow
def test_images_that_process_0_has_decoded_by_others_are_those_of_one_process(
    compare, net_of, regime, info, splits, tmp_path
):
    def images(split, name):
        paths = [str(tmp_path / f"{name}_{number}.png") for number in range(len(split.targets))]
        for path, pixels in zip(paths, split.inputs[:, 0], strict=True):
            Image.fromarray(pixels.mul(255).byte().numpy()).save(path)
        decoded = Images(paths, Decoder(1, 8, 8), name, varies=True, num_workers=1)
        return split._replace(inputs=decoded)

    read = splits._replace(
        train=images(splits.train, "train"), validation=images(splits.validation, "validation")
    )
    settings = regime(batch_size=14)
    compare(lambda: Supervised(net_of(), settings, 3, seed=0), on=(info, read), few=False)


class Hit(Supervised):
    """Something happens to the further process in the second epoch."""

    def __init__(self, *args, what: str) -> None:
        super().__init__(*args)
        self.what = what

    def training_step(self, batch, batch_idx):
        if self.group.rank == 1 and self.current_epoch == 1:
            if self.what == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise MemoryError("not enough memory")
        super().training_step(batch, batch_idx)


@pytest.fixture
def go(info, splits, hardware):
    """Trains in two processes."""

    def run(trainee, checkpoint=None, log=lambda row, epoch: None):
        machine = replace(hardware, strategy="ddp", devices=2)
        given = (trainee.regime, machine, 0, "a test", log, checkpoint)
        return fit(trainee, info, splits, *given)

    return run


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("killed", r"^process 1 of 2 was killed \(SIGKILL: .*the same command\.$"),
        ("failed", r"^process 1 of 2 failed: MemoryError: not enough memory$"),
    ],
)
def test_a_process_that_is_lost_ends_the_training(go, net_of, regime, what, words):
    with pytest.raises(RunError, match=words):
        go(Hit(net_of(), regime(), 3, 0, what=what))
    assert multiprocessing.active_children() == []


def test_a_loss_that_is_not_finite_is_told_once_and_as_ever(go, net_of, regime):
    with pytest.raises(Diverged, match=r"^epoch \d, batch \d: loss term 'ce' is not finite"):
        go(Supervised(net_of(), regime(optimizer="sgd", lr=1e30), 3, 0))
    assert multiprocessing.active_children() == []


class PowerCut(Exception):
    """Ends process 0 as if it was killed: nothing is saved on the way out."""


def test_a_training_with_dropout_goes_on_in_the_middle_of_an_epoch(go, net_of, regime, tmp_path):
    settings = regime(epochs=3, optimizer="sgd")

    def make():
        return Supervised(net_of(dropout=0.3), settings, 3, seed=0)

    whole = go(make())
    checkpoint = Checkpoint(tmp_path / "training.ckpt", 1e-9)
    trainee = make()

    def cut(row, epoch):
        raise PowerCut

    with pytest.raises(PowerCut):
        go(trainee, checkpoint, cut)
    rows: list = []
    again = go(make(), checkpoint, lambda row, epoch: rows.append(row))
    assert rows == again.curve == whole.curve
    for name, value in whole.net.state_dict().items():
        assert torch.equal(value, again.net.state_dict()[name]), name


def test_a_batch_that_cannot_be_shared_evenly_is_refused(go, net_of, regime):
    with pytest.raises(RunError, match=r"^regime\.batch_size: must be a multiple of the 2 proc"):
        go(Supervised(net_of(), regime(batch_size=15), 3, 0))
