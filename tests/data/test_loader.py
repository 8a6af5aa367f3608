from __future__ import annotations

import pytest
import torch

from distill_lab.contracts import Arrays
from distill_lab.data.loader import Loader


def arrays(num_samples: int) -> Arrays:
    numbers = torch.arange(num_samples)
    return Arrays(numbers.float()[:, None], numbers + 100)


def unchanged(inputs, index, view):
    return inputs


def test_a_pass_in_order_holds_every_sample_once_with_its_number():
    batches = list(Loader(arrays(5), 2, unchanged))
    assert [batch.index.tolist() for batch in batches] == [[0, 1], [2, 3], [4]]
    assert [batch.targets.tolist() for batch in batches] == [[100, 101], [102, 103], [104]]
    assert [batch.inputs.tolist() for batch in batches] == [[[0], [1]], [[2], [3]], [[4]]]
    assert all(batch.view.tolist() == [0] * len(batch.index) for batch in batches)


@pytest.mark.parametrize(
    ("num_samples", "batch_size", "drop_lone", "sizes"),
    [
        (6, 3, True, [3, 3]),
        (5, 3, True, [3, 2]),
        (7, 3, True, [3, 3]),
        (7, 3, False, [3, 3, 1]),
        (3, 1, True, [1, 1, 1]),
        (1, 3, True, [1]),
        (2, 512, True, [2]),
    ],
)
def test_batch_sizes(num_samples, batch_size, drop_lone, sizes):
    loader = Loader(arrays(num_samples), batch_size, unchanged, drop_lone=drop_lone)
    assert [len(batch.index) for batch in loader] == sizes
    assert len(loader) == len(sizes)


def order(seed: int, view: int) -> list[int]:
    loader = Loader(arrays(50), 8, unchanged, view=lambda: view, shuffle_seed=seed)
    return torch.cat([batch.index for batch in loader]).tolist()


def test_a_shuffled_order_is_a_function_of_seed_and_view():
    assert sorted(order(0, 0)) == list(range(50))
    assert order(0, 0) == order(0, 0) != list(range(50))
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


def test_inputs_and_targets_follow_the_shuffled_index():
    for batch in Loader(arrays(50), 8, unchanged, shuffle_seed=0):
        assert batch.inputs[:, 0].tolist() == batch.index.tolist()
        assert batch.targets.tolist() == (batch.index + 100).tolist()


def test_the_view_is_asked_once_when_a_pass_starts():
    views = iter([3, 4])
    loader = Loader(arrays(4), 2, unchanged, view=lambda: next(views))
    assert [batch.view.tolist() for batch in loader] == [[3, 3], [3, 3]]
    assert [batch.view.tolist() for batch in loader] == [[4, 4], [4, 4]]


def test_prepare_gets_index_and_view():
    loader = Loader(arrays(3), 3, lambda inputs, index, view: index * 10 + view, view=lambda: 7)
    assert next(iter(loader)).inputs.tolist() == [7, 17, 27]


def test_a_batch_size_below_one_is_refused():
    with pytest.raises(ValueError, match="batch_size: must be >= 1, got 0"):
        Loader(arrays(3), 0, unchanged)
