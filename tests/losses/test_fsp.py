from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from distill_lab.contracts import DistillBatch, Output
from distill_lab.losses.fsp import FSP, fsp
from distill_lab.losses.regressor import Regressor

GOLDEN = json.loads((Path(__file__).parent / "golden_fsp.json").read_text())


def connected(pairs, *networks):
    """A term and a batch of features; a network is a dict of them, the first is the student."""
    loss = FSP(weight=50.0, pairs=pairs)
    shapes = [{tap: tuple(one.shape) for tap, one in net.items()} for net in networks]
    loss.connect(shapes[0], tuple(shapes[1:]), 10)
    outputs = [Output(torch.zeros(len(next(iter(net.values()))), 2), net) for net in networks]
    index = torch.arange(len(outputs[0].logits))
    return loss, DistillBatch(outputs[0], tuple(outputs[1:]), index % 2, index, 4.0)


def test_value_of_one_channel_each_by_hand():
    # Student: mean of (1 * 3, 2 * 4) = 5.5; teacher: mean of (1 * 1, 0 * 5) = 0.5; squared, 25.
    early, late = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[3.0, 4.0]]]])
    teacher = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[1.0, 5.0]]]])
    assert float(fsp(early, late, *teacher)) == 25.0


@pytest.mark.parametrize("case", GOLDEN["cases"])
def test_value_and_gradients_are_those_of_repdistiller(case):
    given = {name: torch.tensor(GOLDEN[name]) for name in case["inputs"]}
    for name in case["gradients"]:
        given[name].requires_grad_()
    value = fsp(**given)
    value.backward()
    torch.testing.assert_close(value, torch.tensor(case["value"]), rtol=1e-4, atol=1e-6)
    for name, gradient in case["gradients"].items():
        torch.testing.assert_close(given[name].grad, torch.tensor(gradient), rtol=1e-4, atol=1e-6)


def test_agrees_with_numpy_where_the_networks_have_maps_of_unequal_size():
    early, late = torch.randn(3, 2, 4, 4), torch.randn(3, 5, 2, 2)
    teacher_early, teacher_late = torch.randn(3, 2, 3, 5), torch.randn(3, 5, 3, 5)
    halved = early.double().numpy().reshape(3, 2, 2, 2, 2, 2).mean(axis=(3, 5))
    student = np.einsum("bchw,bdhw->bcd", halved, late.double().numpy()) / 4
    teacher = np.einsum("bchw,bdhw->bcd", teacher_early.double(), teacher_late.double()) / 15
    expected = np.square(student - teacher).mean()
    value = fsp(early, late, teacher_early, teacher_late)
    assert float(value) == pytest.approx(expected, rel=1e-4)


def test_the_same_order_of_positions_in_both_layers_does_not_matter():
    early, late, *teacher = torch.randn(4, 2, 3, 3, 3).unbind()
    order = torch.randperm(9)
    moved = [one.flatten(2)[:, :, order].reshape(one.shape) for one in (early, late)]
    torch.testing.assert_close(fsp(*moved, *teacher), fsp(early, late, *teacher))


def test_a_factor_that_moves_from_one_layer_to_the_other_does_not_matter():
    early, late, *teacher = torch.randn(4, 2, 3, 3, 3).unbind()
    torch.testing.assert_close(fsp(4 * early, late / 4, *teacher), fsp(early, late, *teacher))


def test_widths_must_agree():
    narrow, wide = torch.zeros(2, 3, 4, 4), torch.zeros(2, 6, 4, 4)
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\).*\(2, 6, 4, 4\).*a regressor"):
        fsp(narrow, narrow, narrow, wide)


def test_layers_of_equal_width_have_no_regressor_and_others_have_one():
    student = {"a": torch.randn(2, 3, 4, 4), "b": torch.randn(2, 4, 4, 4)}
    teacher = {"a": torch.randn(2, 3, 4, 4), "b": torch.randn(2, 6, 4, 4)}
    loss, batch = connected([["a", "a"], ["b", "b"]], student, teacher)
    (first, second) = loss.regressors[0]
    assert isinstance(first, nn.Identity)
    assert isinstance(second, Regressor)
    expected = fsp(student["a"], second(student["b"]), teacher["a"], teacher["b"])
    torch.testing.assert_close(loss(batch), expected)


def test_term_sums_over_pairs_and_the_next_and_averages_over_teachers():
    nets = [dict(zip("abc", torch.randn(3, 2, 4, 3, 3), strict=True)) for _ in range(3)]
    loss, batch = connected([[name, name] for name in "abc"], *nets)
    student = nets[0]
    parts = [
        fsp(student[early], student[late], teacher[early], teacher[late])
        for teacher in nets[1:]
        for early, late in ("ab", "bc")
    ]
    torch.testing.assert_close(loss(batch), sum(parts) / 2)


def test_one_pair_is_refused():
    with pytest.raises(ValueError, match="pairs: must be at least 2"):
        FSP(weight=50.0, pairs=[["a", "a"]])
