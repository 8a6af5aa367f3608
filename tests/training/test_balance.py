from __future__ import annotations

import pytest
import torch
from torch import nn

from distill_lab.losses.ce import CE
from distill_lab.losses.kd import KD
from distill_lab.losses.objective import Objective
from distill_lab.training.balance import GradientBalance, gradient_norm


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Linear(3, 2, bias=False)


def balance(net, every=1):
    return GradientBalance(Objective({"ce": CE(1.0), "kd": KD(0.5)}), net, every)


def test_gradient_norm_by_hand(net):
    # d(3 * sum of weights)/d each of six weights is 3: the length is 3 * sqrt(6).
    value = 3 * net.weight.sum()
    assert gradient_norm(value, [net.weight]) == pytest.approx(3 * 6**0.5)


def test_gradient_norm_of_what_does_not_depend_on_the_parameters_is_zero(net):
    other = torch.ones(2, requires_grad=True)
    assert gradient_norm(other.sum(), [net.weight]) == 0.0
    assert gradient_norm(torch.tensor(1.0), [net.weight]) == 0.0


def test_scaled_gradients_are_equally_long_and_their_geometric_mean_stays(net):
    balanced = balance(net)
    terms = {"ce": 100 * net.weight.sum(), "kd": net.weight.square().sum()}
    norms = {name: gradient_norm(value, [net.weight]) for name, value in terms.items()}
    balanced.update(terms)
    scales = balanced.objective.scales
    scaled = [scales[name] * norms[name] for name in norms]
    assert scaled[0] == pytest.approx(scaled[1])
    assert scaled[0] == pytest.approx((norms["ce"] * norms["kd"]) ** 0.5)


def test_weights_keep_the_ratio_the_user_gave(net):
    balanced = balance(net)
    terms = {"ce": 100 * net.weight.sum(), "kd": net.weight.square().sum()}
    norms = {name: gradient_norm(value, [net.weight]) for name, value in terms.items()}
    balanced.update(terms)
    weights = balanced.objective.weights(0.0, 1)
    assert weights["ce"] * norms["ce"] == pytest.approx(2 * weights["kd"] * norms["kd"])


def test_a_term_that_stopped_is_no_part_of_the_mean(net):
    balanced = balance(net)
    balanced.update({"ce": net.weight.sum(), "kd": 1e6 * net.weight.sum()})
    balanced.update({"ce": net.weight.sum()})
    assert balanced.objective.scales["ce"] == pytest.approx(1.0)


def test_it_looks_only_so_often(net):
    balanced = balance(net, every=3)
    balanced.update({"ce": net.weight.sum(), "kd": net.weight.sum()})
    first = dict(balanced.objective.scales)
    for _ in range(2):
        balanced.update({"ce": 50 * net.weight.sum(), "kd": net.weight.sum()})
        assert balanced.objective.scales == first
    balanced.update({"ce": 50 * net.weight.sum(), "kd": net.weight.sum()})
    assert balanced.objective.scales["ce"] < first["ce"]


def test_a_term_without_a_gradient_keeps_its_weight(net):
    balanced = balance(net)
    balanced.update({"ce": net.weight.sum(), "kd": torch.tensor(2.0)})
    assert balanced.objective.scales == {"ce": pytest.approx(1.0), "kd": 1.0}
