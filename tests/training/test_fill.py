from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from distill_lab.knowledge.cache import AnswerCache
from distill_lab.losses.ce import CE
from distill_lab.losses.kd import KD
from distill_lab.losses.objective import Objective
from distill_lab.models.cifar_resnet import CifarResNet
from distill_lab.settings import Cache
from distill_lab.temperature import Constant
from distill_lab.training.distiller import Distiller
from distill_lab.training.fill import fill
from distill_lab.training.fit import fit
from distill_lab.training.teacher import Teacher

N = 48
ALL = torch.arange(N)
MIXED = {"mixup_alpha": 0.4, "cutmix_alpha": 1.0}
CROPPED = {"shift_pixels": 2, "horizontal_flip": True, "cutout_pixels": 3}


@pytest.fixture
def net(info):
    """A teacher with batch norm."""
    torch.manual_seed(3)
    shapes = {"input_shape": info.input_shape, "num_classes": info.num_classes}
    return CifarResNet(**shapes, depth=8, stem_width=4, width=4).eval()


@pytest.fixture
def cache_of(tmp_path):
    def make(name="key", **changes) -> AnswerCache:
        settings = replace(Cache("stage_2", "-", "fp32", None, None, "pooled"), **changes)
        return AnswerCache(tmp_path / name, N, 3, {}, settings, changing=True)

    return make


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("layout", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("how", [CROPPED, CROPPED | MIXED], ids=["cropped", "mixed"])
def test_training_finds_every_answer_and_has_the_uncached_curve(
    net, net_of, cache_of, info, splits, hardware, regime, how, layout, precision
):
    asked = regime(batch_size=20, epochs=3, **how)
    machine = replace(hardware, precision=precision, channels_last=layout)
    teachers = [Teacher(net, (), 20, cache_of())]
    fill(teachers, info, splits, asked, machine, seed=5, epochs=3)

    def curve(caches):
        objective = Objective({"ce": CE(0.1), "kd": KD(0.9)})
        distiller = Distiller(net_of(), [net], objective, Constant(4.0), asked, 3, 5, caches)
        title = "a test"
        return fit(distiller, info, splits, asked, machine, 5, title, lambda row, epoch: None).curve

    cache = cache_of()
    assert curve([cache]) == curve([])
    assert (cache.num_read, cache.num_computed) == (3 * N, 0)


def test_what_is_there_is_left_and_what_is_not_is_computed(
    net, cache_of, info, splits, hardware, regime
):
    short, long = (regime(batch_size=20, epochs=epochs, **CROPPED) for epochs in (1, 3))
    teachers = [Teacher(net, (), 20, cache_of())]
    fill(teachers, info, splits, short, hardware, seed=5, epochs=1)
    cache = cache_of()
    fill([Teacher(net, (), 20, cache)], info, splits, long, hardware, seed=5, epochs=3)
    assert cache.num_computed == 2 * N
    again = cache_of()
    fill([Teacher(net, (), 20, again)], info, splits, long, hardware, seed=5, epochs=3)
    assert again.num_computed == 0


def test_a_lone_sample_that_training_leaves_out_is_not_waited_for(
    net, cache_of, info, splits, hardware, regime
):
    asked = regime(batch_size=47, epochs=2, **CROPPED)
    teachers = [Teacher(net, (), 47, cache_of())]
    fill(teachers, info, splits, asked, hardware, seed=5, epochs=2)
    again = cache_of()
    assert [again.missing(view, ALL) for view in (0, 1)] == [1, 1]
    fill([Teacher(net, (), 47, again)], info, splits, asked, hardware, seed=5, epochs=2)
    assert again.num_computed == 0


def test_a_last_batch_of_which_some_processes_have_no_row_is_no_hindrance(
    net, cache_of, info, splits, hardware, regime
):
    machine = replace(hardware, strategy="ddp", devices=3)
    cache, asked = cache_of(), regime(batch_size=15, epochs=1, num_samples=47, **CROPPED)
    fill([Teacher(net, (), 5, cache)], info, splits, asked, machine, seed=5, epochs=1)
    assert cache.num_computed in (45, 47)  # training leaves the last two out


def test_a_part_of_the_split_is_asked_about_and_another_part_only_where_it_differs(
    net, cache_of, info, splits, hardware, regime
):
    def computed(**part) -> int:
        cache, asked = cache_of(), regime(batch_size=20, epochs=1, **CROPPED, **part)
        fill([Teacher(net, (), 20, cache)], info, splits, asked, hardware, seed=5, epochs=1)
        return cache.num_computed

    of_class_1 = int((splits.train.targets == 1).sum())
    assert computed(leave_out_classes=[1]) == N - of_class_1 > 0
    assert computed(leave_out_classes=[1]) == 0
    assert computed(leave_out_classes=[2]) == of_class_1


def test_no_more_views_are_filled_than_are_held(net, cache_of, info, splits, hardware, regime):
    cache = cache_of(views=2)
    asked = regime(batch_size=20, epochs=3, **CROPPED)
    fill([Teacher(net, (), 20, cache)], info, splits, asked, hardware, seed=5, epochs=3)
    assert cache.num_computed == 2 * N


def test_every_teacher_fills_its_own(net, cache_of, info, splits, hardware, regime):
    caches = [cache_of("one"), cache_of("two")]
    teachers = [Teacher(net, (), 20, cache) for cache in [*caches, None]]
    once = regime(batch_size=20, epochs=1, **CROPPED)
    fill(teachers, info, splits, once, hardware, seed=5, epochs=1)
    assert [cache.num_computed for cache in caches] == [N, N]


def test_what_comes_after_the_last_teachers_term_has_stopped_is_not_asked(
    net, cache_of, info, splits, hardware, regime
):
    cache, asked = cache_of(), regime(batch_size=20, epochs=3, **CROPPED)
    fill([Teacher(net, (), 20, cache)], info, splits, asked, hardware, seed=5, epochs=2)
    assert [cache.missing(view, ALL) for view in range(3)] == [0, 0, N]
