from __future__ import annotations

import pytest
import torch
from torch import nn

from distill_lab.compress.prune_unstructured import PruneUnstructured


def net_of(*rows):
    net = nn.Sequential(*(nn.Linear(len(row), 1, bias=True) for row in rows))
    with torch.no_grad():
        for layer, row in zip(net, rows, strict=True):
            layer.weight.copy_(torch.tensor([row]))
    return net


def test_the_smallest_of_the_whole_network_become_zero_whatever_their_layer():
    net = net_of([1.0, -5.0, 0.5, 3.0], [-2.0, 0.1, 0.2, 4.0])
    pruned = PruneUnstructured(0.5, 1, 0).begin(net, torch.zeros(1, 4), 0)
    assert pruned[0].weight.tolist() == [[0.0, -5.0, 0.0, 3.0]]
    assert pruned[1].weight.tolist() == [[-2.0, 0.0, 0.0, 4.0]]
    assert torch.equal(pruned[0].bias, net[0].bias)


def test_rounds_leave_the_same_share_of_what_the_round_before_left():
    # 0.81 of 100 go in two rounds: 0.19 ** 0.5 = 0.436 is left after the first.
    net = net_of([float(n + 1) for n in range(100)])
    step, zeros = PruneUnstructured(0.81, 2, 1), []
    for number in range(2):
        net = step.begin(net, torch.zeros(1, 100), number)
        zeros.append(int((net[0].weight == 0).sum()))
    assert zeros == [56, 81]


def test_ties_do_not_change_how_many_are_left():
    pruned = PruneUnstructured(0.5, 1, 0).begin(net_of([1.0] * 8), torch.zeros(1, 8), 0)
    assert int((pruned[0].weight == 0).sum()) == 4


def test_a_weight_has_to_be_left():
    reason = r"^the layers of Sequential have 4 weights and would lose all of them\. .* 1 - 1/4\."
    with pytest.raises(ValueError, match=reason):
        PruneUnstructured(0.9, 1, 0).check(net_of([1.0] * 4), torch.zeros(1, 4))


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        ((1.0, 1, 0), r"^fraction: must be in \(0, 1\), got 1\.0\."),
        ((0.5, 0, 0), "^rounds: must be >= 1, got 0"),
        ((0.5, 1, -1), "^epochs: must be >= 0, got -1"),
        ((0.5, 3, 0), "^epochs: must be >= 1 where there are 3 rounds, got 0"),
    ],
)
def test_numbers_out_of_range_are_refused(numbers, reason):
    with pytest.raises(ValueError, match=reason):
        PruneUnstructured(*numbers)
