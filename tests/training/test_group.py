from __future__ import annotations

import pytest
import torch

from distill_lab.contracts import Output
from distill_lab.training.group import ALONE, Group, unsharded


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [
        (8, 2, [(0, 4), (4, 8)]),
        (5, 2, [(0, 3), (3, 5)]),
        (7, 4, [(0, 2), (2, 4), (4, 6), (6, 7)]),
        (1, 2, [(0, 1), (1, 1)]),
        (6, 1, [(0, 6)]),
    ],
)
def test_rows_are_divided_in_order_the_first_processes_having_one_more(count, size, expected):
    group = Group(size=size)
    rows = [group.rows(count, rank) for rank in range(size)]
    assert [(part.start, part.stop) for part in rows] == expected
    assert [Group(rank, size).rows(count) for rank in range(size)] == rows


def test_alone_nothing_is_exchanged_or_copied():
    value = torch.ones(3, 2, requires_grad=True)
    output = Output(value, {"tap": value})
    assert ALONE.gather(value, 3) is value
    assert ALONE.gather_output(output, 3) is output
    gradients = [value, None]
    assert all(a is b for a, b in zip(ALONE.average(gradients), gradients, strict=True))
    assert ALONE.agree_on({"val/nll": 0.1}) == {"val/nll": 0.1}
    assert ALONE.total([3, 4]) == [3, 4]
    assert unsharded(value) is value


def test_alone_random_numbers_are_left_alone():
    before = torch.get_rng_state()
    ALONE.seed(0, 1, 2, apart=True)
    assert torch.equal(torch.get_rng_state(), before)


def test_processes_draw_apart_or_together_by_their_place_in_the_training():
    def drawn(rank, *place, apart):
        Group(rank, 2).seed(*place, apart=apart)
        return float(torch.rand(()))

    together = {drawn(rank, 0, 3, 5, apart=False) for rank in range(2)}
    assert len(together) == 1
    apart = {drawn(rank, 0, 3, 5, apart=True) for rank in range(2)}
    places = [(0, 3, 6), (0, 4, 5), (1, 3, 5)]
    others = {drawn(0, *place, apart=True) for place in places}
    assert len(together | apart | others) == 1 + 2 + 3
