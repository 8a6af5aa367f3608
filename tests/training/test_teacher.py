from __future__ import annotations

import os

import pytest
import torch
from torch import nn

from distill_lab.contracts import Batch
from distill_lab.knowledge.cache import AnswerCache
from distill_lab.losses.ce import CE
from distill_lab.losses.kd import KD
from distill_lab.losses.objective import Objective
from distill_lab.models.cifar_resnet import CifarResNet
from distill_lab.models.cnn import CNN
from distill_lab.settings import Cache
from distill_lab.temperature import Constant
from distill_lab.training.distiller import Distiller
from distill_lab.training.teacher import Teacher

NUM_SAMPLES, NUM_CLASSES, BATCH_SIZE = 48, 3, 20  # the last batch of an epoch has 8 samples
AUGMENTED = {"shift_pixels": 2, "horizontal_flip": True}


class Counting(nn.Module):
    """Notes how many rows it is run on; so it cannot be traced, and nothing in it is folded."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.rows: list[int] = []

    def forward(self, inputs):
        self.rows.append(len(inputs))
        return self.net(inputs)


@pytest.fixture
def teacher_net(info):
    """A small convolutional network that counts."""

    def make(seed: int = 3) -> Counting:
        torch.manual_seed(seed)
        shapes = {"input_shape": info.input_shape, "num_classes": info.num_classes}
        knobs = {"channels": [4, 6], "convs_per_block": 1, "kernel_size": 3, "dropout": 0.0}
        return Counting(CNN(**shapes, **knobs))

    return make


@pytest.fixture
def cache_of(tmp_path):
    """Opens a cache below one folder."""

    def make(name="key", features=None, changing=True, **changes) -> AnswerCache:
        plain = {"fill": "lazy", "folder": "-", "dtype": "fp32", "views": None, "top_k": None}
        settings = Cache(**(plain | {"features": "all"} | changes))
        sizes = (NUM_SAMPLES, NUM_CLASSES, features or {})
        return AnswerCache(tmp_path / name, *sizes, settings, changing)

    return make


@pytest.fixture
def curve_of(net_of, regime, train):
    """Distils a fresh student and returns its curve."""

    def run(*teachers, caches=(), temperature=4.0, terms=None, **changes):
        distiller = Distiller(
            net_of(),
            list(teachers),
            Objective(terms or {"ce": CE(weight=0.1), "kd": KD(weight=0.9)}),
            Constant(temperature),
            regime(**({"epochs": 3, "batch_size": BATCH_SIZE} | AUGMENTED | changes)),
            NUM_CLASSES,
            seed=0,
            caches=caches,
        )
        return train(distiller).curve

    return run


def test_cached_and_uncached_curves_are_equal_bit_by_bit(curve_of, teacher_net, cache_of):
    live = curve_of(teacher_net())
    filling = curve_of(teacher_net(), caches=[cache_of()])
    silent = teacher_net()
    cached = curve_of(silent, caches=[cache_of()])
    assert live == filling == cached
    assert silent.rows == []


def test_they_are_equal_with_batch_norm_folded_too(curve_of, cache_of, info):
    def net():
        torch.manual_seed(3)
        shapes = {"input_shape": info.input_shape, "num_classes": info.num_classes}
        return CifarResNet(**shapes, depth=8, stem_width=4, width=4)

    live = curve_of(net())
    filling, cached = cache_of(), cache_of()
    assert live == curve_of(net(), caches=[filling]) == curve_of(net(), caches=[cached])
    assert (cached.num_read, cached.num_computed) == (3 * NUM_SAMPLES, 0)


@pytest.mark.parametrize("mixing", ["mixup_alpha", "cutmix_alpha"])
def test_they_are_equal_under_mixing_too(curve_of, teacher_net, cache_of, mixing):
    changes = {mixing: 1.0, **AUGMENTED}
    live = curve_of(teacher_net(), **changes)
    filling = curve_of(teacher_net(), caches=[cache_of()], **changes)
    silent = teacher_net()
    assert live == filling == curve_of(silent, caches=[cache_of()], **changes)
    assert silent.rows == []


def test_without_augmentation_one_epoch_is_enough_for_all(curve_of, teacher_net, cache_of):
    plain = {"shift_pixels": 0, "horizontal_flip": False}
    live, filling = teacher_net(), teacher_net()
    cache = cache_of(changing=False)
    assert curve_of(live, **plain) == curve_of(filling, caches=[cache], **plain)
    assert (len(live.rows), len(filling.rows)) == (9, 3)
    assert (cache.num_computed, cache.num_read) == (NUM_SAMPLES, 2 * NUM_SAMPLES)


def test_other_temperatures_and_losses_read_the_same_answers(curve_of, teacher_net, cache_of):
    curve_of(teacher_net(), caches=[cache_of()])
    silent = teacher_net()
    changes = {"temperature": 9.0, "terms": {"kd": KD(weight=1.0)}}
    cached = curve_of(silent, caches=[cache_of()], **changes)
    assert silent.rows == []
    assert cached == curve_of(teacher_net(), **changes)


def test_the_views_that_are_not_kept_are_asked_for_each_time(curve_of, teacher_net, cache_of):
    live = curve_of(teacher_net())
    curve_of(teacher_net(), caches=[cache_of(views=1)])
    again = teacher_net()
    cache = cache_of(views=1)
    assert curve_of(again, caches=[cache]) == live
    assert len(again.rows) == 6  # the second and third epoch
    assert (cache.num_read, cache.num_computed) == (NUM_SAMPLES, 2 * NUM_SAMPLES)


def test_a_longer_run_goes_on_where_a_shorter_one_ended(curve_of, teacher_net, cache_of):
    curve_of(teacher_net(), caches=[cache_of()], epochs=2)
    longer = teacher_net()
    assert curve_of(longer, caches=[cache_of()]) == curve_of(teacher_net())
    assert len(longer.rows) == 3


def damage(folder, how):
    for file in folder.glob("*.rows"):
        if how == "truncated":
            os.truncate(file, 100)
        elif how == "altered":
            content = bytearray(file.read_bytes())
            content[40:200:7] = bytes(len(content[40:200:7]))
            file.write_bytes(content)
        else:
            file.unlink()


@pytest.mark.parametrize("how", ["truncated", "altered", "deleted"])
def test_a_damaged_cache_is_found_and_refilled(curve_of, teacher_net, cache_of, tmp_path, how):
    whole = curve_of(teacher_net(), caches=[cache_of()])
    damage(tmp_path / "key", how)
    mending, silent = teacher_net(), teacher_net()
    assert curve_of(mending, caches=[cache_of()]) == whole
    assert mending.rows != []
    assert curve_of(silent, caches=[cache_of()]) == whole
    assert silent.rows == []


def test_several_teachers_have_caches_of_their_own(curve_of, teacher_net, cache_of):
    both = (teacher_net(1), teacher_net(2))
    live = curve_of(*both)
    assert live != curve_of(teacher_net(1))
    filling = curve_of(*both, caches=[cache_of("one"), cache_of("two")])
    silent = (teacher_net(1), teacher_net(2))
    cached = curve_of(*silent, caches=[cache_of("one"), cache_of("two")])
    assert live == filling == cached
    assert [net.rows for net in silent] == [[], []]


def test_one_of_several_teachers_may_be_without_a_cache(curve_of, teacher_net, cache_of):
    live = curve_of(teacher_net(1), teacher_net(2))
    curve_of(teacher_net(1), teacher_net(2), caches=[cache_of("one"), None])
    nets = (teacher_net(1), teacher_net(2))
    assert curve_of(*nets, caches=[cache_of("one"), None]) == live
    assert (nets[0].rows, len(nets[1].rows)) == ([], 9)


@pytest.mark.parametrize("form", [{"dtype": "fp16"}, {"top_k": 1}, {"dtype": "fp16", "top_k": 2}])
def test_rounded_answers_give_one_curve_filling_or_cached(curve_of, teacher_net, cache_of, form):
    filling = curve_of(teacher_net(), caches=[cache_of(**form)])
    silent = teacher_net()
    assert curve_of(silent, caches=[cache_of(**form)]) == filling
    assert silent.rows == []
    assert filling != curve_of(teacher_net())


def batch_of(splits, index, view=0):
    chosen = torch.tensor(index)
    views = torch.full_like(chosen, view)
    return Batch(splits.train.inputs[chosen], splits.train.targets[chosen], chosen, views)


def test_batch_norm_is_folded_except_before_what_is_read():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 3))
    kinds = [[type(m) for m in Teacher(net, taps, 4).net][1] for taps in ((), ("0",))]
    assert kinds == [nn.Identity, nn.BatchNorm2d]


def test_an_answer_does_not_depend_on_the_batch_it_is_asked_in(teacher_net, splits):
    teacher = Teacher(teacher_net(), (), BATCH_SIZE)
    whole = teacher.answer(batch_of(splits, range(BATCH_SIZE))).logits
    some = [7, 3, 11]
    assert torch.equal(teacher.answer(batch_of(splits, some)).logits, whole[some])
    assert torch.equal(teacher.answer(batch_of(splits, [5])).logits, whole[[5]])


def test_the_network_always_sees_full_batches(teacher_net, splits):
    net = teacher_net()
    teacher = Teacher(net, (), BATCH_SIZE)
    for size in (1, 7, BATCH_SIZE):
        assert len(teacher.answer(batch_of(splits, range(size))).logits) == size
    assert net.rows == [BATCH_SIZE] * 3


def test_only_the_missing_rows_of_a_batch_are_computed(teacher_net, splits, cache_of):
    cache, net = cache_of(), teacher_net()
    teacher = Teacher(net, (), BATCH_SIZE, cache)
    first = teacher.answer(batch_of(splits, [0, 1, 2])).logits
    teacher.finish_pass()
    both = teacher.answer(batch_of(splits, [2, 9, 0])).logits
    assert (cache.num_read, cache.num_computed) == (2, 4)
    assert torch.equal(both[[2, 0]], first[[0, 2]])
    assert torch.equal(
        both, Teacher(net, (), BATCH_SIZE).answer(batch_of(splits, [2, 9, 0])).logits
    )


def test_features_are_kept_beside_the_logits(teacher_net, splits, cache_of):
    taps = ("net.blocks.1", "net.blocks.0")
    net = teacher_net()
    batch = batch_of(splits, range(5))
    live = Teacher(net, taps, BATCH_SIZE).answer(batch)
    shapes = {tap: tuple(live.features[tap].shape) for tap in taps}
    filling = Teacher(net, taps, BATCH_SIZE, cache_of(features=shapes))
    filling.answer(batch)
    filling.finish_pass()
    net.rows.clear()
    kept = Teacher(net, taps, BATCH_SIZE, cache_of(features=shapes)).answer(batch)
    assert net.rows == []
    assert torch.equal(kept.logits, live.logits)
    assert all(torch.equal(kept.features[tap], live.features[tap]) for tap in taps)


def test_answers_can_take_part_in_a_backward_pass(teacher_net, splits, net_of):
    batch = batch_of(splits, range(5))
    logits = Teacher(teacher_net(), (), BATCH_SIZE).answer(batch).logits
    (net_of()(batch.inputs) * logits).sum().backward()
    assert not logits.requires_grad
