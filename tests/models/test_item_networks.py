"""The networks that name the next item of a user."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from distill_lab.measure.cost import count_macs, count_parameters
from distill_lab.models.gru4rec import GRU4Rec
from distill_lab.models.matrix_factorization import MatrixFactorization
from distill_lab.models.sasrec import SASRec, latest

KNOBS = {
    SASRec: {"dim": 8, "depth": 2, "num_heads": 2, "dropout": 0.2},
    GRU4Rec: {"embedding": 5, "hidden": 6, "dropout": 0.2},
    MatrixFactorization: {"factors": 4},
}
EVERY = pytest.mark.parametrize("kind", list(KNOBS))


def make(kind, length=7, num_classes=30, vocabulary_size=31, **changes):
    given = {"input_shape": (length,), "num_classes": num_classes}
    return kind(**given, vocabulary_size=vocabulary_size, **(KNOBS[kind] | changes))


def ids(*rows):
    return torch.tensor(rows)


@EVERY
def test_padding_changes_nothing_and_the_order_does_where_there_is_one(kind):
    torch.manual_seed(0)
    net = make(kind).eval()
    row = ids([3, 9, 4, 0, 0, 0, 0])
    with torch.no_grad():
        assert torch.allclose(net(row), net(row[:, :5]), atol=1e-6)
        same = torch.allclose(net(row), net(ids([9, 3, 4, 0, 0, 0, 0])), atol=1e-5)
    assert same == (kind is MatrixFactorization)


def test_a_logit_is_the_product_of_factors_and_the_items_bias():
    # The user had items 0 and 2, factors (1, 0) and (3, 4), so its own are (2, 2).
    net = make(MatrixFactorization, num_classes=3, vocabulary_size=4, factors=2)
    with torch.no_grad():
        net.past.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0], [9.0, 9.0], [3.0, 4.0]]))
        net.classifier.weight.copy_(torch.tensor([[1.0, 1.0], [0.0, 2.0], [-1.0, 0.0]]))
        net.classifier.bias.copy_(torch.tensor([0.0, 0.5, 1.0]))
        assert net(ids([1, 3, 0, 0, 0, 0, 0])).tolist() == [[4.0, 4.5, -1.0]]


def test_a_factorisation_has_two_matrices_and_a_bias_and_costs_one_product_with_all_items():
    length, factors, items = 7, 4, 30
    net = make(MatrixFactorization)
    assert count_parameters(net) == 31 * factors + items * factors + items
    mean_of_the_row = length * factors
    assert count_macs(net, (length,)) == items * factors + mean_of_the_row


@EVERY
def test_a_user_without_a_past_has_finite_logits(kind):
    assert make(kind)(ids([0] * 7)).isfinite().all()


def test_an_item_does_not_look_at_later_ones():
    torch.manual_seed(0)
    net = make(SASRec).eval()
    hidden = torch.randn(1, 4, 8)
    later = torch.ones(4, 4, dtype=torch.bool).triu(1)
    mask = torch.zeros(4, 4).masked_fill(later, -1e9)
    changed = hidden.clone()
    changed[0, 3] += 1.0
    with torch.no_grad():
        before, after = (net.blocks[0](some, mask) for some in (hidden, changed))
    assert torch.allclose(before[0, :3], after[0, :3], atol=1e-6)
    assert not torch.allclose(before[0, 3], after[0, 3], atol=1e-3)


def test_items_are_named_by_the_embeddings_that_they_are_read_by():
    net = make(SASRec).eval()
    seen = []
    net.norm.register_forward_hook(lambda module, given, said: seen.append(said))
    logits = net(ids([3, 9, 4, 0, 0, 0, 0]))
    assert torch.allclose(logits, F.linear(seen[0], net.items.weight[1:], net.bias))


def test_parameters_and_products_are_those_of_the_paper():
    # A block: queries, keys, values, their mix and two layers are 6 products of D x D; attention
    # is 2 of L x L x D. Then the products with all items.
    length, dim, items = 7, 8, 30
    net = make(SASRec)
    block = 6 * dim**2 * length + 2 * length**2 * dim
    assert count_macs(net, (length,)) == 2 * block + dim * items
    weights = 6 * dim**2 + 6 * dim + 2 * 2 * dim
    whole = 31 * dim + length * dim + 2 * weights + 2 * dim + items
    assert count_parameters(net) == whole


def test_the_state_is_that_of_the_latest_item():
    hidden = torch.arange(12.0).view(2, 3, 2)
    assert latest(hidden, ids([5, 6, 0], [7, 8, 9])).tolist() == [[2.0, 3.0], [10.0, 11.0]]
    assert latest(hidden, ids([0, 0, 0], [7, 0, 0])).tolist() == [[0.0, 1.0], [6.0, 7.0]]


@pytest.mark.parametrize(
    ("kind", "changes", "text"),
    [
        (SASRec, {"dim": 7}, "dim: must be a multiple of num_heads, 2, got 7."),
        (SASRec, {"depth": 0}, "depth: must be >= 1, got 0."),
        (SASRec, {"num_classes": 5}, "num_classes: must be 30, each item being a class"),
        (GRU4Rec, {"hidden": 0}, "hidden: must be >= 1, got 0."),
        (MatrixFactorization, {"factors": 0}, "factors: must be >= 1, got 0."),
        (GRU4Rec, {"vocabulary_size": None}, r"input_shape: must be \(L,\) of token ids"),
    ],
)
def test_a_wrong_knob_is_named(kind, changes, text):
    with pytest.raises(ValueError, match=text):
        make(kind, **changes)
