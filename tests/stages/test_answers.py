from __future__ import annotations

from dataclasses import fields, replace
from types import SimpleNamespace

import pytest
import torch

from distill_lab.contracts import Component
from distill_lab.losses.base import Needs
from distill_lab.losses.ce import CE
from distill_lab.losses.kd import KD
from distill_lab.losses.objective import Objective
from distill_lab.settings import AUGMENTING, Cache, Hardware, Regime
from distill_lab.stages import answers
from distill_lab.stages.answers import open_caches, usage
from distill_lab.stages.context import Context
from distill_lab.stages.handoffs import TeacherChoice

SETTINGS = Cache("lazy", "kept", "fp32", None, None, "pooled")
MLP = Component("distill_lab.models.mlp.MLP", {"widths": [8]})
HARDWARE = Hardware("cpu", 1, "32-true", channels_last=False, compile=False, threads=1)
DATA = {"_target_": "distill_lab.data.fake.Fake"}


class Reads(KD):
    """A loss that reads a layer of the teacher."""

    def __init__(self, tap: str) -> None:
        super().__init__(weight=1.0)
        self.tap = tap

    @property
    def needs(self) -> Needs:
        return Needs((), (self.tap,))


@pytest.fixture
def opened(info, splits, net_of, regime, workdir):
    """Opens the caches of two teachers; keywords change what decides their answers."""

    def make(
        settings=SETTINGS,
        loss=None,
        net=None,
        architecture=MLP,
        info=info,
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
            hardware=hardware,
            config={"hardware": vars(hardware), "data": DATA},
        )
        tags = {}
        context = Context(parts, of, data, SimpleNamespace(set_tags=tags.update), store=None)
        kept = [SimpleNamespace(architecture=architecture, weights=SimpleNamespace(sha256=weights))]
        objective = Objective({"term": loss or KD(weight=1.0)})
        caches = open_caches(context, TeacherChoice(kept * 2, 2), [net or net_of()] * 2, objective)
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
        {"hardware": replace(HARDWARE, precision="bf16-mixed")},
        {"hardware": replace(HARDWARE, channels_last=True)},
        {"hardware": replace(HARDWARE, compile=True)},
        {"architecture": Component(MLP.target, {"widths": [8], "max_norm": 1.0})},
        {"loss": Reads("hidden.0")},
    ],
    ids=str,
)
def test_what_decides_an_answer_is_in_the_key(opened, change):
    assert key(opened, **change) != key(opened)


def test_which_samples_one_can_be_mixed_with_is_in_the_key(opened):
    assert key(opened, leave_out_classes=[1]) == key(opened)
    mixed = {"mixup_alpha": 0.5}
    keys = [
        key(opened, **mixed, **part)
        for part in ({}, {"leave_out_classes": [1]}, {"num_samples": 9})
    ]
    assert len(set(keys)) == 3


def test_the_number_of_threads_is_in_the_key(opened, monkeypatch):
    one = key(opened)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert key(opened) != one


@pytest.mark.parametrize("attribute", ["mean", "std"])
def test_how_inputs_are_normalised_is_in_the_key(opened, info, attribute):
    assert key(opened, info=replace(info, **{attribute: (0.3,)})) != key(opened)


@pytest.mark.parametrize(
    ("where", "value"), [("torch.__version__", "9"), ("answers.device_name", lambda hardware: "x")]
)
def test_the_version_of_torch_and_the_device_are_in_the_key(opened, monkeypatch, where, value):
    now = key(opened)
    place = torch if where.startswith("torch") else answers
    monkeypatch.setattr(place, where.partition(".")[2], value)
    assert key(opened) != now


@pytest.mark.parametrize(
    "module",
    [
        "data.augment",
        "data.normalise",
        "data.fake",
        "training.mixing",
        "models.mlp",
        "models.folded",
    ],
)
def test_the_code_that_makes_an_answer_is_in_the_key(opened, monkeypatch, module):
    from distill_lab import fingerprint

    now = key(opened)
    original = fingerprint._parsed

    def edited(name, path):
        found, imported = original(name, path)
        return (found + "edited" if name == f"distill_lab.{module}" else found), imported

    monkeypatch.setattr(fingerprint, "_parsed", edited)
    assert key(opened) != now


def test_every_key_of_the_regime_is_known_to_change_answers_or_not():
    """A new augmentation that were forgotten would be given the answers to other inputs."""
    of_the_student = {
        "epochs",
        "num_labels",
        "label_noise",
        "optimizer",
        "lr",
        "momentum",
        "dot_delta",
        "weight_decay",
        "schedule",
        "warmup_fraction",
        "milestone_fractions",
        "decay_factor",
        "clip_norm",
        "ema_decay",
        "early_stop_epochs",
        "keep",
        "accumulate_batches",
    }
    names = {field.name for field in fields(Regime)}
    assert names == of_the_student | {*AUGMENTING, *answers.PARTNERS, "batch_size"}


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 0.5},
        {"optimizer": "sgd"},
        {"epochs": 9},
        {"ema_decay": 0.9},
        {"accumulate_batches": 2},
        {"seed": 1},
        {"hardware": replace(HARDWARE, threads=2)},
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


def test_a_loss_that_asks_no_teacher_needs_no_cache(opened):
    assert opened(loss=CE(weight=1.0)) == ([None, None], {})


def test_pooled_features_are_kept(opened):
    (cache, _), _ = opened(loss=Reads("hidden.0"))
    # 8 for the checksum, 3 logits; 8 for the checksum, 8 units; 4 bytes each, whole 8 bytes.
    assert cache.view_bytes == 48 * ((8 + 16) + (8 + 32))


def test_maps_are_kept_only_where_asked_for(opened):
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(128, 3)
    )
    caches, tags = opened(loss=Reads("0"), net=net)
    assert caches == [None, None]
    assert "maps of the teacher (0); cache.features=all keeps them" in tags["cache"]
    caches, tags = opened(replace(SETTINGS, features="all"), loss=Reads("0"), net=net)
    assert caches[0].view_bytes == 48 * ((8 + 16) + (8 + 4 * 128))


def test_usage_is_the_share_that_was_read(opened):
    caches, _ = opened()
    for cache, read in zip(caches, (30, 10), strict=True):
        cache.num_read, cache.num_computed = read, 10
    assert usage(caches) == {"cache/share_read": pytest.approx(40 / 60), "cache/mib": 0.0}


def test_there_is_no_usage_where_nothing_was_asked(opened):
    assert usage([None, *opened()[0]]) == {}
