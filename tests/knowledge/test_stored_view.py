from __future__ import annotations

import numpy as np
import pytest

from distill_lab.knowledge.rows import RowFile
from distill_lab.knowledge.stored_view import StoredView

SIZES = {"logits": 12, "tap_pool": 5}
N = 10


@pytest.fixture
def opened(tmp_path):
    """Opens the view in one folder."""
    return lambda: StoredView(
        {part: RowFile(tmp_path / part, N, size, part) for part, size in SIZES.items()}
    )


def rows(index, seed=0):
    rng = np.random.default_rng(seed)
    return {part: rng.integers(0, 256, (len(index), s), np.uint8) for part, s in SIZES.items()}


def test_rows_of_a_new_view_can_be_read_when_the_pass_is_finished(opened):
    index = np.array([3, 1])
    view, given = opened(), rows(index)
    view.write(index, given)
    assert view.read(index) is None
    view.finish_pass()
    for reader in (view, opened()):
        found, known = reader.read(index)
        assert known.all()
        assert all(np.array_equal(found[part], given[part]) for part in SIZES)


def test_a_view_that_was_there_is_read_at_once(opened):
    index = np.arange(N)
    first = opened()
    first.write(index[:4], rows(index[:4]))
    assert opened().read(index)[1].tolist() == [True] * 4 + [False] * 6


def test_a_sample_is_known_if_all_its_parts_are(opened):
    index = np.arange(2)
    view = opened()
    view.finish_pass()
    view.files["logits"].write(index, rows(index)["logits"])
    assert view.read(index) is None
    view.files["tap_pool"].write(index, rows(index)["tap_pool"])
    assert view.read(index)[1].tolist() == [True, True]


def test_without_files_nothing_is_known_and_nothing_kept():
    view = StoredView({})
    view.write(np.arange(2), rows(np.arange(2)))
    view.finish_pass()
    assert view.read(np.arange(2)) is None
