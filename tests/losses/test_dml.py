from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr, softmax
from torch import nn

from distill_lab.contracts import Component
from distill_lab.losses.dml import DML, dml, shuffled_copy
from distill_lab.training.connect import connected_objective

TERMS = {"dml": Component("distill_lab.losses.dml.DML", {"weight": 1.0, "num_peers": 2})}


def small_net():
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5)
    )


def term(net, num_peers=2, seed=0):
    torch.manual_seed(seed)
    loss = DML(weight=1.0, num_peers=num_peers)
    loss.see_student(net, [], None)
    return loss


def kl(first, second):
    """KL(first || second) of logits, mean over B, by scipy."""
    p, q = (softmax(one.detach().double().numpy(), axis=1) for one in (first, second))
    return rel_entr(p, q).sum(axis=1).mean()


def cross_entropy(logits, targets):
    log_p = log_softmax(logits.detach().double().numpy(), axis=1)
    return -log_p[np.arange(len(targets)), targets.numpy()].mean()


def weights(net):
    return [parameter.detach().clone() for parameter in net.parameters()]


def test_value_of_two_networks_by_hand():
    # Student 3/4, 1/4, peer 1/2, 1/2, label 0: the student has KL(peer || student) = ln(4/3) / 2,
    # the peer ln 2 and KL(student || peer) = 3/4 ln(3/2) + 1/4 ln(1/2).
    student, peer = torch.tensor([[math.log(3.0), 0.0]]), torch.zeros(1, 2)
    of_peer = math.log(2) + 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    by_hand = math.log(4 / 3) / 2 + of_peer
    assert float(dml(student, [peer], torch.tensor([0]))) == pytest.approx(by_hand, rel=1e-6)


def test_three_networks_agree_with_scipy():
    torch.manual_seed(1)
    s, p, q = 3 * torch.randn(3, 7, 5)
    targets = torch.arange(7) % 5
    of_student = (kl(p, s) + kl(q, s)) / 2
    of_p = cross_entropy(p, targets) + (kl(s, p) + kl(q, p)) / 2
    of_q = cross_entropy(q, targets) + (kl(s, q) + kl(p, q)) / 2
    value = dml(s, [p, q], targets)
    assert float(value) == pytest.approx(of_student + of_p + of_q, rel=1e-5)


def test_each_network_has_the_gradient_of_its_own_part_alone():
    torch.manual_seed(2)
    s, p, q = cohort = [torch.randn(6, 4, requires_grad=True) for _ in range(3)]
    targets = torch.arange(6) % 4
    dml(s, [p, q], targets).backward()
    of_s, of_p, of_q = (logits.detach().softmax(dim=1) for logits in cohort)
    labels = torch.eye(4)[targets]
    torch.testing.assert_close(s.grad, (of_s - (of_p + of_q) / 2) / 6)
    torch.testing.assert_close(p.grad, (of_p - labels + of_p - (of_s + of_q) / 2) / 6)
    torch.testing.assert_close(q.grad, (of_q - labels + of_q - (of_s + of_p) / 2) / 6)


def test_equal_networks_have_the_peers_labels_left_and_do_not_pull_at_the_student():
    logits, targets = torch.randn(6, 4, requires_grad=True), torch.arange(6) % 4
    value = dml(logits, [logits.detach(), logits.detach()], targets)
    value.backward()
    assert float(value.detach()) == pytest.approx(2 * cross_entropy(logits, targets), rel=1e-5)
    torch.testing.assert_close(logits.grad, torch.zeros(6, 4))


def test_the_order_of_the_peers_does_not_matter():
    s, p, q = torch.randn(3, 6, 4)
    targets = torch.arange(6) % 4
    torch.testing.assert_close(dml(s, [q, p], targets), dml(s, [p, q], targets))


def test_labels_may_be_probabilities():
    s, p = torch.randn(2, 6, 4)
    targets = torch.arange(6) % 4
    torch.testing.assert_close(dml(s, [p], torch.eye(4)[targets]), dml(s, [p], targets))


@pytest.mark.parametrize("peers", [[], [(3, 4), (3, 5)]])
def test_a_peer_is_needed_and_has_the_students_classes(peers):
    with pytest.raises(ValueError, match=r"student logits are \(3, 4\).*one peer or more"):
        dml(torch.zeros(3, 4), [torch.zeros(shape) for shape in peers], torch.zeros(3).long())


def test_peers_begin_with_the_students_numbers_in_other_places():
    net = small_net()
    before = weights(net)
    loss = term(net, num_peers=2)
    first, second = (weights(peer) for peer in loss.peers)
    for own, a, b in zip(before, first, second, strict=True):
        assert own.ndim < 2 or not (torch.equal(own, a) or torch.equal(a, b))
        assert own.ndim >= 2 or (torch.equal(own, a) and torch.equal(own, b))
        assert torch.equal(own.flatten().sort()[0], a.flatten().sort()[0])
    assert all(torch.equal(a, b) for a, b in zip(before, weights(net), strict=True))


def test_peers_follow_the_global_seed():
    net = small_net()
    one, same, other = (weights(term(net, seed=seed)) for seed in (5, 5, 6))
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_weight_in_two_places_stays_one():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    copy = shuffled_copy(net)
    assert copy[1].weight is copy[0].weight


def test_peers_of_a_meta_network_are_on_the_meta_device():
    with torch.device("meta"):
        objective = connected_objective(TERMS, small_net(), [], (3, 4, 4), 10, seed=0)
    assert {parameter.device.type for parameter in objective.parameters()} == {"meta"}


def test_peers_of_an_objective_depend_on_its_seed_alone():
    net = small_net()
    torch.manual_seed(8)
    one = connected_objective(TERMS, net, [], (3, 4, 4), 10, seed=0)
    torch.manual_seed(9)
    other = connected_objective(TERMS, net, [], (3, 4, 4), 10, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


def test_term_is_the_function_of_what_the_peers_say_and_trains_them(batch_of):
    net, inputs = small_net(), torch.randn(6, 3, 4, 4)
    loss = term(net, num_peers=2)
    batch = replace(batch_of(torch.randn(6, 5)), inputs=inputs)
    expected = dml(batch.student.logits, [peer(inputs) for peer in loss.peers], batch.targets)
    value = loss(batch)
    torch.testing.assert_close(value, expected)
    value.backward()
    assert all(parameter.grad is not None for parameter in loss.parameters())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_peers_learn_the_labels_from_the_term(batch_of):
    loss, inputs = term(small_net(), num_peers=1), torch.randn(6, 3, 4, 4)
    batch = replace(batch_of(torch.zeros(6, 5)), inputs=inputs)
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.1)
    values = []
    for _ in range(20):
        optimizer.zero_grad()
        value = loss(batch)
        value.backward()
        optimizer.step()
        values.append(cross_entropy(loss.peers[0](inputs), batch.targets))
    assert values[-1] < 0.5 * values[0]


def test_peers_have_the_mode_of_the_term_and_are_in_its_state():
    loss = term(small_net(), num_peers=2)
    assert not any(module.training for module in loss.eval().peers.modules())
    assert {key.split(".")[1] for key in loss.state_dict()} == {"0", "1"}


def test_inputs_are_needed(batch_of):
    with pytest.raises(ValueError, match=r"DistillBatch\.inputs is None"):
        term(small_net())(batch_of(torch.zeros(2, 5)))


def test_a_peer_at_least_is_needed():
    with pytest.raises(ValueError, match="num_peers: must be >= 1, got 0"):
        DML(weight=1.0, num_peers=0)
