from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from distill_lab.contracts import Component
from distill_lab.settings import Cache
from distill_lab.stages import answers
from distill_lab.stages.answers import open_caches, usage
from distill_lab.stages.context import Context
from distill_lab.stages.handoffs import TeacherChoice

SETTINGS = Cache("lazy", "kept", "fp32", None, None, "pooled")
MLP = Component("distill_lab.models.mlp.MLP", {"widths": [8]})
HARDWARE = {"accelerator": "cpu", "precision": "32-true", "threads": 1}


@pytest.fixture
def opened(info, splits, net_of, regime, workdir):
    """Opens the caches of two teachers; keywords change what decides their answers."""

    def make(
        settings=SETTINGS,
        taps=(),
        net=None,
        seed=0,
        weights="abc",
        data="checksum",
        hardware=HARDWARE,
        of=splits,
        **changes,
    ):
        parts = SimpleNamespace(
            seed=seed,
            data=SimpleNamespace(info=info),
            cache=settings,
            regime=regime(**changes),
            config={"hardware": hardware},
        )
        tags = {}
        context = Context(parts, of, data, SimpleNamespace(set_tags=tags.update), store=None)
        kept = [SimpleNamespace(architecture=MLP, weights=SimpleNamespace(sha256=weights))] * 2
        caches = open_caches(context, TeacherChoice(kept, 2), [net or net_of()] * 2, taps)
        return caches, tags

    return make


def key(opened, **changes):
    (cache, _), _ = opened(**changes)
    return cache.folder.name


def test_each_teacher_has_a_folder_that_the_run_names(opened, workdir):
    caches, tags = opened()
    assert tags == {"cache": ", ".join(str(cache.folder) for cache in caches)}
    assert caches[0].folder.parent == workdir / "kept"
    assert caches[0].folder.name.startswith("fake-")


@pytest.mark.parametrize(
    "change",
    [
        {"weights": "other"},
        {"data": "other"},
        {"batch_size": 8},
        {"shift_pixels": 1},
        {"horizontal_flip": True},
        {"cutout_pixels": 2},
        {"mixup_alpha": 0.5},
        {"cutmix_alpha": 0.5},
        {"hardware": HARDWARE | {"precision": "bf16-mixed"}},
    ],
    ids=str,
)
def test_what_decides_an_answer_is_in_the_key(opened, change):
    assert key(opened, **change) != key(opened)


def test_the_number_of_threads_is_in_the_key(opened, monkeypatch):
    one = key(opened)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert key(opened) != one


def test_the_code_that_runs_the_teacher_is_in_the_key(opened, monkeypatch):
    now = key(opened)
    monkeypatch.setattr(answers, "source_hash", lambda modules: "edited")
    assert key(opened) != now


def test_the_modules_in_the_key_exist():
    from distill_lab.fingerprint import _path

    assert all(_path(module) is not None for module in answers.CODE)


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 0.5},
        {"optimizer": "sgd"},
        {"epochs": 9},
        {"ema_decay": 0.9},
        {"accumulate_batches": 2},
        {"seed": 1},
        {"hardware": HARDWARE | {"threads": 2}},
        {"settings": replace(SETTINGS, views=1, dtype="fp16")},
    ],
    ids=str,
)
def test_what_only_the_student_feels_is_not(opened, change):
    assert key(opened, **change) == key(opened)


def test_the_seed_is_in_the_key_where_inputs_are_drawn_by_it(opened):
    assert key(opened, seed=1, shift_pixels=1) != key(opened, shift_pixels=1)


def test_views_differ_only_where_inputs_are_drawn(opened):
    assert not opened()[0][0].changing
    assert opened(mixup_alpha=0.2)[0][0].changing


@pytest.mark.parametrize("varies", [False, True])
def test_images_that_are_cropped_when_they_are_read_differ_from_view_to_view(
    opened, splits, varies
):
    images = SimpleNamespace(varies=varies)
    cropped = splits._replace(train=splits.train._replace(inputs=images))
    (cache, _), _ = opened(of=cropped)
    assert cache.changing is varies
    assert (key(opened, of=cropped, seed=1) != cache.folder.name) is varies


def test_without_a_cache_nothing_is_said(opened, workdir):
    assert opened(replace(SETTINGS, fill="off")) == ([None, None], {})


def test_pooled_features_are_kept(opened):
    (cache, _), _ = opened(taps=("hidden.0",))
    # 8 for the checksum, 3 logits; 8 for the checksum, 8 units; 4 bytes each, whole 8 bytes.
    assert cache.view_bytes == 48 * ((8 + 16) + (8 + 32))


def test_maps_are_kept_only_where_asked_for(opened):
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(128, 3)
    )
    caches, tags = opened(taps=("0",), net=net)
    assert caches == [None, None]
    assert "maps of the teacher (0); cache.features=all keeps them" in tags["cache"]
    caches, tags = opened(replace(SETTINGS, features="all"), taps=("0",), net=net)
    assert caches[0].view_bytes == 48 * ((8 + 16) + (8 + 4 * 128))


def test_usage_is_the_share_that_was_read(opened):
    caches, _ = opened()
    for cache, read in zip(caches, (30, 10), strict=True):
        cache.num_read, cache.num_computed = read, 10
    assert usage(caches) == {"cache/share_read": pytest.approx(40 / 60), "cache/mib": 0.0}


def test_there_is_no_usage_where_nothing_was_asked(opened):
    assert usage([None, *opened()[0]]) == {}
