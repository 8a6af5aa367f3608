from __future__ import annotations

import pytest
import torch

from distill_lab.contracts import DistillBatch, Output
from distill_lab.losses.pairs import PairLoss, pooled, same_size, zero

MAPS = (2, 8, 4, 4)
STUDENT = {"a": MAPS, "b": MAPS, "c": MAPS, "pool": (2, 8)}
TEACHER = {"1": MAPS, "2": MAPS, "pool": (2, 16)}


class OfMaps(PairLoss):
    axes = (4,)

    def forward(self, batch):
        return sum((s - t).square().mean() for s, t in self.features(batch))


class OfTheMiddle(OfMaps):
    choice = "middle"


class OfTheLast(PairLoss):
    choice = "last"

    def forward(self, batch):
        raise NotImplementedError


class OfTwo(OfMaps):
    fewest = 2


PROPOSED = [("a", "1"), ("b", "1"), ("c", "2"), ("pool", "pool")]


def chosen(term, proposed=PROPOSED, student=STUDENT, teachers=(TEACHER,)):
    term.choose(proposed, student, teachers)
    return term.pairs


def test_auto_takes_the_proposed_pairs_it_can_read():
    assert chosen(OfMaps(1.0, "auto")) == [("a", "1"), ("b", "1"), ("c", "2")]
    assert chosen(OfTheMiddle(1.0, "auto")) == [("b", "1")]


def test_auto_of_a_term_of_the_last_layers_does_not_ask_which_pairs_are_proposed():
    assert chosen(OfTheLast(1.0, "auto"), [("pool", "1")]) == [("pool", "pool")]
    other = {"1": MAPS, "2": MAPS, "deepest": MAPS}
    assert chosen(OfTheLast(1.0, "auto"), teachers=(other,)) == [("c", "deepest")]


def test_a_layer_that_one_teacher_lacks_is_passed_over():
    other = {"2": MAPS, "pool": (2, 4)}
    assert chosen(OfMaps(1.0, "auto"), teachers=(TEACHER, other)) == [("c", "2")]


def test_too_few_readable_pairs_are_an_error_that_lists_the_layers():
    with pytest.raises(ValueError, match=r"auto finds 1 of 2 pairs .* maps \(B, C, H, W\)"):
        chosen(OfTwo(1.0, "auto"), [("a", "1"), ("pool", "pool")])


def test_named_pairs_are_needed_each_once():
    needs = OfMaps(1.0, [["a", "1"], ["b", "1"]]).needs
    assert needs.student == ("a", "b")
    assert needs.teacher == ("1",)


def test_named_pairs_of_another_kind_are_refused_when_connected():
    term = OfMaps(1.0, [["pool", "1"]])
    with pytest.raises(ValueError, match=r"student 'pool' is \(2, 8\), teacher '1' is \(2, 8, 4"):
        term.connect(STUDENT, (TEACHER,), 10)


@pytest.mark.parametrize("pairs", [[["a"]], [["a", "1", "2"]]])
def test_a_pair_has_two_ends(pairs):
    with pytest.raises(ValueError, match="pairs: must be"):
        OfMaps(1.0, pairs)


def test_fewer_pairs_than_it_works_with_are_refused():
    with pytest.raises(ValueError, match="pairs: must be at least 2"):
        OfTwo(1.0, [["a", "1"]])


def test_features_come_in_pairs_and_the_teachers_are_constants():
    student, teacher = torch.ones(MAPS, requires_grad=True), torch.zeros(MAPS, requires_grad=True)
    batch = DistillBatch(
        Output(torch.ones(2, 3), {"a": student}),
        (Output(torch.ones(2, 3), {"1": teacher}),),
        torch.tensor([0, 1]),
        torch.arange(2),
        4.0,
    )
    value = OfMaps(1.0, [["a", "1"]])(batch)
    value.backward()
    assert float(value.detach()) == 1.0
    assert student.grad is not None
    assert teacher.grad is None


def test_pooling_averages_positions_and_tokens():
    maps = torch.arange(8.0).view(1, 2, 2, 2)
    torch.testing.assert_close(pooled(maps), torch.tensor([[1.5, 5.5]]))
    tokens = torch.tensor([[[1.0, 2.0], [3.0, 6.0]]])
    torch.testing.assert_close(pooled(tokens), torch.tensor([[2.0, 4.0]]))


def test_the_larger_map_is_averaged_to_the_smaller_in_each_direction():
    wide, tall = torch.arange(4.0).view(1, 1, 1, 4), torch.arange(4.0).view(1, 1, 2, 2)
    first, second = same_size(wide, tall)
    torch.testing.assert_close(first, torch.tensor([[[[0.5, 2.5]]]]))
    torch.testing.assert_close(second, torch.tensor([[[[1.0, 2.0]]]]))


def test_half_maps_are_pooled_in_float32():
    # 1 and 1 + 2^-10 are neighbours in half precision; their mean lies between them.
    half = torch.tensor([1.0, 1 + 2**-10], dtype=torch.float16).view(1, 1, 1, 2)
    first, second = same_size(half, torch.ones(1, 1, 1, 1, dtype=torch.float16))
    assert first.dtype == second.dtype == torch.float32
    assert first.item() == 1 + 2**-11


def test_zero_has_a_gradient_of_zeros_whatever_it_is_like():
    like = torch.tensor([float("nan"), float("inf"), 1e30], requires_grad=True)
    zero(like).backward()
    torch.testing.assert_close(like.grad, torch.zeros(3))
