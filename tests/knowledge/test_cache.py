from __future__ import annotations

import logging
import os

import pytest
import torch

from distill_lab.contracts import Output
from distill_lab.knowledge.cache import AnswerCache
from distill_lab.settings import Cache

N, K = 12, 5
SHAPES = {"pool": (2, 3), "layer1.0": (2, 4, 2, 2)}


@pytest.fixture
def cache_of(tmp_path):
    """Opens the cache in one folder; keywords change its settings."""

    def make(features=None, changing=True, folder=None, **changes) -> AnswerCache:
        plain = {
            "fill": "lazy",
            "folder": "not read here",
            "dtype": "fp32",
            "views": None,
            "top_k": None,
            "features": "all",
        }
        settings = Cache(**(plain | changes))
        return AnswerCache(folder or tmp_path / "key", N, K, features or {}, settings, changing)

    return make


def answers(count, seed=0, features=()):
    torch.manual_seed(seed)
    return Output(
        torch.randn(count, K), {tap: torch.randn(count, *SHAPES[tap][1:]) for tap in features}
    )


def test_nothing_is_known_of_a_new_cache(cache_of):
    _, known = cache_of().read(torch.arange(N), 0)
    assert not known.any()


def test_what_was_written_is_read_by_another_run(cache_of):
    index, said = torch.tensor([7, 2, 9]), answers(3)
    cache_of().write(index, 4, said)
    kept, known = cache_of().read(torch.tensor([9, 1, 7]), 4)
    assert known.tolist() == [True, False, True]
    assert torch.equal(kept.logits[[0, 2]], said.logits[[2, 0]])


def test_each_view_is_kept_by_itself(cache_of):
    cache = cache_of()
    index = torch.arange(3)
    first, second = answers(3, seed=1), answers(3, seed=2)
    cache.write(index, 0, first)
    cache.write(index, 1, second)
    assert torch.equal(cache.read(index, 0)[0].logits, first.logits)
    assert torch.equal(cache.read(index, 1)[0].logits, second.logits)
    assert not cache.read(index, 2)[1].any()


def test_where_views_are_all_alike_one_is_kept(cache_of):
    cache = cache_of(changing=False, views=1)
    cache.write(torch.arange(3), 0, answers(3))
    assert cache.holds(99)
    assert cache.read(torch.arange(3), 99)[1].all()
    assert len(list(cache.folder.iterdir())) == 1


def test_no_more_views_are_held_than_asked(cache_of):
    cache = cache_of(views=2)
    assert [cache.holds(view) for view in (0, 1, 2, 3)] == [True, True, False, False]
    assert len(list(cache.folder.iterdir())) == 2


def test_features_come_back_in_their_shapes(cache_of):
    taps = tuple(SHAPES)
    said = answers(4, features=taps)
    cache_of(SHAPES).write(torch.arange(4), 0, said)
    kept, known = cache_of(SHAPES).read(torch.arange(4), 0)
    assert known.all()
    assert torch.equal(kept.logits, said.logits)
    for tap in taps:
        assert torch.equal(kept.features[tap], said.features[tap])


def test_logits_kept_without_features_are_not_enough_for_who_needs_them(cache_of):
    said = answers(4, features=SHAPES)
    cache_of().write(torch.arange(4), 0, said)
    assert not cache_of(SHAPES).read(torch.arange(4), 0)[1].any()
    cache_of(SHAPES).write(torch.arange(4), 0, said)
    assert cache_of().read(torch.arange(4), 0)[1].all()


def test_rounded_answers_are_the_same_when_written_and_when_read(cache_of):
    said = answers(4)
    written = cache_of(dtype="fp16").write(torch.arange(4), 0, said)
    kept, _ = cache_of(dtype="fp16").read(torch.arange(4), 0)
    assert torch.equal(written.logits, kept.logits)
    assert torch.equal(kept.logits, said.logits.half().float())


@pytest.mark.parametrize("change", [{"dtype": "fp16"}, {"top_k": 2}])
def test_answers_kept_in_another_form_are_not_read(cache_of, change):
    cache_of().write(torch.arange(N), 0, answers(N))
    other = cache_of(**change)
    assert not other.read(torch.arange(N), 0)[1].any()


def test_missing_counts_samples_that_lack_anything(cache_of):
    cache = cache_of(SHAPES)
    cache.write(torch.tensor([0, 5]), 0, answers(2, features=SHAPES))
    assert cache.missing(0) == N - 2


def test_bytes_are_those_on_disk(cache_of):
    cache = cache_of(SHAPES)
    assert cache.num_bytes == 0
    cache.holds(0)
    # 8 for the checksum; 5, 3 and 16 float32, filled up to whole 8 bytes.
    assert cache.view_bytes == N * ((8 + 24) + (8 + 16) + (8 + 64)) == cache.num_bytes
    cache.holds(1)
    assert cache.num_bytes == 2 * cache.view_bytes


def test_it_counts_what_was_read_and_what_was_computed(cache_of):
    cache = cache_of()
    cache.write(torch.arange(4), 0, answers(4))
    cache.read(torch.arange(6), 0)
    assert (cache.num_read, cache.num_computed) == (4, 4)


def test_a_truncated_file_lacks_what_was_cut_off(cache_of, caplog):
    cache_of().write(torch.arange(N), 0, answers(N))
    (file,) = cache_of().folder.iterdir()
    os.truncate(file, file.stat().st_size // 2)
    cache = cache_of()
    assert cache.missing(0) == N // 2
    cache.write(torch.arange(N), 0, answers(N))
    assert cache.missing(0) == 0
    assert "what is lost is computed" in caplog.text


def test_a_folder_that_cannot_be_used_holds_nothing_and_says_so_once(cache_of, tmp_path, caplog):
    (tmp_path / "a_file").write_text("in the way")
    cache = cache_of(folder=tmp_path / "a_file" / "key")
    with caplog.at_level(logging.WARNING):
        assert not cache.holds(0)
        assert not cache.holds(1)
    (record,) = caplog.records
    assert "cache.folder: " in record.message
    assert "the teacher runs in every step" in record.message


def test_a_disk_that_fills_up_ends_the_keeping_and_not_the_run(cache_of, monkeypatch):
    cache = cache_of()
    assert cache.holds(0)

    def full(descriptor, offset, size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert not cache.holds(1)
    assert not cache.holds(0)
