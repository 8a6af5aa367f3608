from __future__ import annotations

import pytest
from torch import nn

from distill_lab.compress.layers import WEIGHTED, require_reach, weighted_layers


def test_half_of_the_weights_are_enough():
    net = nn.Sequential(nn.Conv2d(1, 2, 2, bias=False), nn.Linear(2, 4, bias=False))  # 8 and 8
    require_reach(net, (nn.Linear,))


def test_less_is_refused_by_the_largest_layer_that_is_left_out():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 4, 3), nn.Linear(4, 4))
    reason = (
        r"^treats Linear, which hold 17\.2% of the weights of Sequential; the largest other layer "
        r"is '1' \(Conv2d\)\. Take compress=\[quantize_onnx\]"
    )
    with pytest.raises(ValueError, match=reason):  # 20 of 20 + 20 + 76
        require_reach(net, (nn.Linear,))


def test_an_embedding_is_looked_up_and_counts_for_nothing():
    net = nn.ModuleDict({"embedding": nn.Embedding(1000, 4), "classifier": nn.Linear(4, 2)})
    require_reach(net, (nn.Linear,))


def test_no_other_step_is_advised_where_none_reaches_more():
    net = nn.ModuleDict({"recurrent": nn.GRU(4, 4), "classifier": nn.Linear(4, 2)})
    with pytest.raises(ValueError, match=r"'recurrent' \(GRU\)\. Leave it out for this network\."):
        require_reach(net, WEIGHTED)


def test_layers_with_weights_are_named_in_order():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Sequential(nn.Conv1d(1, 1, 1)))
    assert [path for path, _ in weighted_layers(net)] == ["0", "2.0"]
