from __future__ import annotations

import logging
import os

import pytest
import torch

from distill_lab.contracts import Output
from distill_lab.knowledge.cache import AnswerCache
from distill_lab.settings import Cache

N, K = 12, 5
ALL = torch.arange(N)
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


def keep(cache, index, view, said):
    """Write answers as a pass of their own."""
    written = cache.write(torch.as_tensor(index), view, said)
    cache.finish_pass()
    return written


def answers(count, seed=0, features=()):
    torch.manual_seed(seed)
    return Output(
        torch.randn(count, K), {tap: torch.randn(count, *SHAPES[tap][1:]) for tap in features}
    )


def test_nothing_is_known_of_a_new_cache(cache_of):
    assert cache_of().read(torch.arange(N), 0) is None


def test_what_was_written_is_read_by_another_run(cache_of):
    index, said = torch.tensor([7, 2, 9]), answers(3)
    keep(cache_of(), index, 4, said)
    kept, known = cache_of().read(torch.tensor([9, 1, 7]), 4)
    assert known.tolist() == [True, False, True]
    assert torch.equal(kept.logits[[0, 2]], said.logits[[2, 0]])


def test_each_view_is_kept_by_itself(cache_of):
    cache = cache_of()
    index = torch.arange(3)
    first, second = answers(3, seed=1), answers(3, seed=2)
    keep(cache, index, 0, first)
    keep(cache, index, 1, second)
    assert torch.equal(cache.read(index, 0)[0].logits, first.logits)
    assert torch.equal(cache.read(index, 1)[0].logits, second.logits)
    assert cache.read(index, 2) is None


def test_where_views_are_all_alike_one_is_kept(cache_of):
    cache = cache_of(changing=False, views=1)
    keep(cache, torch.arange(3), 0, answers(3))
    assert cache.holds(99)
    assert cache.read(torch.arange(3), 99)[1].all()
    assert len(list(cache.folder.glob("*.rows"))) == 1


def test_no_more_views_are_held_than_asked(cache_of):
    cache = cache_of(views=2)
    assert [cache.holds(view) for view in (0, 1, 2, 3)] == [True, True, False, False]


def test_features_come_back_in_their_shapes(cache_of):
    taps = tuple(SHAPES)
    said = answers(4, features=taps)
    keep(cache_of(SHAPES), torch.arange(4), 0, said)
    kept, known = cache_of(SHAPES).read(torch.arange(4), 0)
    assert known.all()
    assert torch.equal(kept.logits, said.logits)
    for tap in taps:
        assert torch.equal(kept.features[tap], said.features[tap])


def test_logits_kept_without_features_are_not_enough_for_who_needs_them(cache_of):
    said = answers(4, features=SHAPES)
    keep(cache_of(), torch.arange(4), 0, said)
    assert cache_of(SHAPES).read(torch.arange(4), 0) is None
    keep(cache_of(SHAPES), torch.arange(4), 0, said)
    assert cache_of().read(torch.arange(4), 0)[1].all()


def test_rounded_answers_are_the_same_when_written_and_when_read(cache_of):
    said = answers(4)
    written = keep(cache_of(dtype="fp16"), torch.arange(4), 0, said)
    kept, _ = cache_of(dtype="fp16").read(torch.arange(4), 0)
    assert torch.equal(written.logits, kept.logits)
    assert torch.equal(kept.logits, said.logits.half().float())


@pytest.mark.parametrize("change", [{"dtype": "fp16"}, {"top_k": 2}])
def test_answers_kept_in_another_form_are_not_read(cache_of, change):
    keep(cache_of(), torch.arange(N), 0, answers(N))
    other = cache_of(**change)
    assert other.read(torch.arange(N), 0) is None


@pytest.mark.parametrize("whole_bytes", [0, 2**20])
def test_a_whole_view_is_read_alike_at_once_and_row_by_row(cache_of, monkeypatch, whole_bytes):
    monkeypatch.setattr("distill_lab.knowledge.cache.WHOLE_BYTES", whole_bytes)
    said = answers(N, features=SHAPES)
    keep(cache_of(SHAPES), torch.arange(N), 0, said)
    cache = cache_of(SHAPES)
    index = torch.tensor([3, 11, 0])
    kept, known = cache.read(index, 0)
    assert (known is None) == (whole_bytes > 0)
    assert torch.equal(kept.logits, said.logits[index])
    assert all(torch.equal(kept.features[tap], said.features[tap][index]) for tap in SHAPES)
    assert cache.num_read == 3


def test_a_view_that_does_not_change_is_read_as_a_whole_from_the_second_pass_on(cache_of):
    cache, said = cache_of(changing=False), answers(N)
    keep(cache, torch.arange(N), 0, said)
    kept, known = cache.read(torch.tensor([5]), 7)
    assert known is None
    assert torch.equal(kept.logits, said.logits[[5]])


def test_no_more_answers_wait_than_there_is_room_for(cache_of, monkeypatch):
    monkeypatch.setattr("distill_lab.knowledge.cache.WAITING_BYTES", 3 * (8 + 24))
    cache = cache_of()
    lacking = []
    for number in range(9):
        cache.write(torch.tensor([number]), 0, answers(1))
        lacking.append(cache_of().missing(0, ALL))
    assert lacking == [12, 12, 12, 8, 8, 8, 8, 4, 4]


def test_what_waits_is_written_before_the_next_view_is_opened(cache_of):
    cache, said = cache_of(), answers(3)
    cache.write(torch.arange(3), 0, said)
    cache.write(torch.arange(3), 1, answers(3, seed=1))
    assert torch.equal(cache_of().read(torch.arange(3), 0)[0].logits, said.logits)


def test_missing_counts_samples_that_lack_anything(cache_of):
    cache = cache_of(SHAPES)
    keep(cache, torch.tensor([0, 5]), 0, answers(2, features=SHAPES))
    assert cache.missing(0, ALL) == N - 2


def test_bytes_are_those_on_disk(cache_of):
    cache = cache_of(SHAPES)
    assert cache.num_bytes == 0
    cache.missing(0, ALL)
    # 8 for the checksum; 5, 3 and 16 float32, filled up to whole 8 bytes.
    assert cache.view_bytes == N * ((8 + 24) + (8 + 16) + (8 + 64)) == cache.num_bytes
    cache.missing(1, ALL)
    assert cache.num_bytes == 2 * cache.view_bytes


def test_it_counts_what_was_read_and_what_was_computed(cache_of):
    cache = cache_of()
    keep(cache, torch.arange(4), 0, answers(4))
    cache.read(torch.arange(6), 0)
    assert (cache.num_read, cache.num_computed) == (4, 4)


def test_a_truncated_file_lacks_what_was_cut_off(cache_of, caplog):
    keep(cache_of(), torch.arange(N), 0, answers(N))
    (file,) = cache_of().folder.glob("*.rows")
    os.truncate(file, file.stat().st_size // 2)
    cache = cache_of()
    assert cache.missing(0, ALL) == N // 2
    keep(cache, torch.arange(N), 0, answers(N))
    assert cache.missing(0, ALL) == 0
    assert "what is lost is computed" in caplog.text


def test_a_folder_that_cannot_be_used_keeps_nothing_and_says_so_once(cache_of, tmp_path, caplog):
    (tmp_path / "a_file").write_text("in the way")
    cache = cache_of(folder=tmp_path / "a_file" / "key")
    said = answers(3)
    with caplog.at_level(logging.WARNING):
        for view in (0, 1):
            assert torch.equal(keep(cache, torch.arange(3), view, said).logits, said.logits)
            assert cache.read(torch.arange(3), view) is None
            assert cache.missing(view, ALL) == 0
    (record,) = caplog.records
    assert "cache.folder: " in record.message
    assert "the teacher runs in every step" in record.message


def test_without_a_folder_answers_are_rounded_all_the_same(cache_of, tmp_path):
    (tmp_path / "a_file").write_text("in the way")
    said = answers(3)
    folders = (tmp_path / "a_file" / "key", tmp_path / "good")
    lost, kept = (
        keep(cache_of(folder=folder, dtype="fp16", top_k=2), torch.arange(3), 0, said).logits
        for folder in folders
    )
    assert torch.equal(lost, kept)
    assert not torch.equal(lost, said.logits)


def test_a_disk_that_fills_up_ends_the_keeping_and_not_the_run(cache_of, monkeypatch):
    cache = cache_of()
    keep(cache, torch.arange(3), 0, answers(3))

    def full(descriptor, offset, size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    keep(cache, torch.arange(3), 1, answers(3))
    assert cache.read(torch.arange(3), 1) is None


def test_answers_of_another_folder_or_view_are_not_taken(cache_of, tmp_path):
    keep(cache_of(), torch.arange(N), 0, answers(N))
    (file,) = (tmp_path / "key").glob("*.rows")
    for copy in (tmp_path / "other" / file.name, file.with_name(file.name.replace("0000", "0001"))):
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(file.read_bytes())
    assert cache_of(folder=tmp_path / "other").missing(0, ALL) == N
    assert cache_of().missing(1, ALL) == N
    assert cache_of().missing(0, ALL) == 0


def test_missing_looks_through_a_long_file_in_parts(cache_of, monkeypatch):
    monkeypatch.setattr("distill_lab.knowledge.cache.CHUNK", 5)
    cache = cache_of()
    keep(cache, torch.tensor([0, 4, 5, 11]), 0, answers(4))
    assert cache.missing(0, ALL) == N - 4
